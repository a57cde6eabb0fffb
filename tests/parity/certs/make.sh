#!/bin/sh
# Makes the test CA, a server certificate for a.test, b.test, localhost and 127.0.0.1, one for b.test only, and a client certificate.
set -eu
cd "$(dirname "$0")"
key() { openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$1.key"; }
key ca
openssl req -x509 -new -key ca.key -subj "/CN=parity test CA" -days 36500 -out ca.crt -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign"
sign() {
  key "$1"
  openssl req -new -key "$1.key" -subj "/CN=$1" -out "$1.csr"
  printf 'subjectAltName=%s\nbasicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n' "$2" > "$1.ext"
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 36500 -extfile "$1.ext" -out "$1.crt"
  rm "$1.csr" "$1.ext"
}
sign server "DNS:a.test,DNS:localhost,IP:127.0.0.1"
sign other "DNS:b.test,DNS:*.wild.test"
sign client "URI:spiffe://parity/client,DNS:client.test"
rm -f ca.srl ca.key
