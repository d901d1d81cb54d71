"""The keys of a homeserver, from standard input: whether they are signed by themselves, and whether that would be seen."""

import json
import sys

from signedjson.key import decode_verify_key_bytes
from signedjson.sign import SignatureVerifyException, verify_signed_json
from unpaddedbase64 import decode_base64

answer = json.load(sys.stdin)
name = answer["server_name"]
keys = [decode_verify_key_bytes(key, decode_base64(value["key"])) for key, value in answer["verify_keys"].items()]
for key in keys:
    verify_signed_json(answer, name, key)
    try:
        verify_signed_json({**answer, "valid_until_ts": answer["valid_until_ts"] + 1}, name, key)
        sys.exit("a changed answer passes as well")
    except SignatureVerifyException:
        pass
print(f"{name}: {len(keys)} key, signed")
