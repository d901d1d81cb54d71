# page.sh: a page to be previewed, on the box's own public address.
set -eu
mkdir -p /run/federation-page
echo '<html><head><title>a page</title></head><body>words</body></html>' >/run/federation-page/index.html
systemd-run --quiet --unit federation-page --working-directory /run/federation-page \
    python3 -m http.server 8090 --bind 203.0.114.2
# Synapse remembers what it could not fetch.
curl --silent --show-error --fail --retry 30 --retry-delay 1 --retry-connrefused --output /dev/null http://203.0.114.2:8090/
