import hashlib, hmac, json, sys, urllib.error, urllib.request

ADDRESS = "http://127.0.0.1:8008/_synapse/admin/v1/register"
user, password, kind = sys.argv[1:]
with open("/var/lib/matrix-synapse/keys/registration_shared_secret") as file:
    secret = file.read().strip()
nonce = json.load(urllib.request.urlopen(ADDRESS))["nonce"]
mac = hmac.new(secret.encode(), "\0".join([nonce, user, password, kind]).encode(), hashlib.sha1)
asked = {"nonce": nonce, "username": user, "password": password, "admin": kind == "admin", "mac": mac.hexdigest()}
request = urllib.request.Request(ADDRESS, json.dumps(asked).encode(), {"Content-Type": "application/json"})
try:
    print(urllib.request.urlopen(request).read().decode())
except urllib.error.HTTPError as error:
    sys.exit(f"Synapse refuses {user}: {error.read().decode()}")
