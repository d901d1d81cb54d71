# trust.sh: Synapse trusts the authority in /run/federation/ca.pem for federation, and asks no key server: there is none here.
# All else of its settings is the image's, the list of addresses that it does not ask, too.
set -eu
chmod 755 /run/federation
chmod 644 /run/federation/ca.pem
cat /etc/matrix-synapse/homeserver.yaml - >/run/federation/homeserver.yaml <<END

federation_custom_ca_list: [/run/federation/ca.pem]
trusted_key_servers: []
END
chmod 644 /run/federation/homeserver.yaml
mount --bind /run/federation/homeserver.yaml /etc/matrix-synapse/homeserver.yaml
systemctl restart --no-block matrix-synapse.service
