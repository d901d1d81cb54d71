"""What the tests' HTTP servers have in common."""

import http.server
import json


class Answering(http.server.BaseHTTPRequestHandler):
    """Says nothing of what it is asked, and answers in JSON, or in bytes as they are."""

    def log_message(self, *_):
        pass

    def answer(self, status, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
