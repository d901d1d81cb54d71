# network.sh NUMBER DOMAIN: the box's address on the cable between the two, 203.0.114.NUMBER, and both boxes' names; the first
# one's is DOMAIN. Public addresses, as Synapse asks no others; packets to them go nowhere but through the cable.
set -eu
mkdir -p /run/systemd/network
cat >/run/systemd/network/10-federation.network <<END
[Match]
MACAddress=52:54:00:c4:a7:0$1

[Network]
Address=203.0.114.$1/24
IPv6AcceptRA=no
END
chmod 644 /run/systemd/network/10-federation.network
networkctl reload
cat /etc/hosts - >/run/federation-hosts <<END
203.0.114.1 $2 matrix.$2
203.0.114.2 other.example matrix.other.example page.example
fd00::1 inner.example
END
chmod 644 /run/federation-hosts
mount --bind /run/federation-hosts /etc/hosts
