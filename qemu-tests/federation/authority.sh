# authority.sh DOMAIN: a certificate authority, and a certificate of each box with its key and the chain: for set-certificate.
set -eu
umask 077
mkdir -p /run/federation
cd /run/federation
new="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc"
openssl req -x509 $new -keyout ca.key -out ca.pem -days 2 -subj /CN=authority \
    -addext keyUsage=critical,keyCertSign 2>/dev/null
for name in "$1" other.example; do
    printf 'subjectAltName=DNS:%s,DNS:matrix.%s\n' $name $name >$name.ext
    openssl req $new -keyout $name.key -subj /CN=$name 2>/dev/null |
        openssl x509 -req -CA ca.pem -CAkey ca.key -days 2 -extfile $name.ext -out $name.pem 2>/dev/null
    cat $name.key $name.pem ca.pem >$name.all
done
