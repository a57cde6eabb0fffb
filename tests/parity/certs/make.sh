#!/bin/sh
# Makes the test CA, a server certificate for a.test, b.test, localhost and 127.0.0.1, one for b.test only, a client certificate, and
# the certificates of two people whom another CA vouches for through an intermediate one: their names are made to be quoted wrongly; and eve's.
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

key people-ca
openssl req -x509 -new -key people-ca.key -subj "/CN=people CA" -days 36500 -out people-ca.crt -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign"
signed_by() { # issuer name subject extensions
  key "$2"
  openssl req -new -utf8 -multivalue-rdn -key "$2.key" -subj "$3" -out "$2.csr"
  printf "$4" > "$2.ext"
  openssl x509 -req -in "$2.csr" -CA "$1.crt" -CAkey "$1.key" -CAcreateserial -days 36500 -extfile "$2.ext" -out "$2.crt"
  rm "$2.csr" "$2.ext"
}
person='basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n'
signed_by people-ca people-mid "/C=DE/O=people, inc/CN=people intermediate" 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n'
signed_by people-mid jane '/C=DE/O=A "quoted" org, with; all=kinds \+ of <signs>/OU= two words \\ +UID=jane/CN=Jäne \\ #1/emailAddress=jane@a.test' \
  "${person}subjectAltName=@names\n[names]\nURI.1=spiffe://people/jane;Hash=forged\nURI.2=https://a.test/x,y\nDNS.1=jane.test\nDNS.2=*.jane.test\nemail.1=jane@a.test\nIP.1=10.1.2.3\nIP.2=2001:db8::1\n"
signed_by people-mid nobody '/CN=' "$person"
cat people-mid.crt >> jane.crt
cat people-mid.crt >> nobody.crt
signed_by people-mid people-server '/CN=people server' "${person}subjectAltName=DNS:a.test,URI:spiffe://people/server,URI:spiffe://people/other\n"
rm -f people-ca.srl people-mid.srl people-ca.key people-mid.key people-mid.crt

# Who vouches for herself, and whose name would begin a header of its own.
key eve
printf '[req]\ndistinguished_name=dn\n[dn]\n[ext]\nbasicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\nsubjectAltName=@names\n[names]\nURI.1=spiffe://people/eve\\r\\nx-evil: 1\nDNS.1=eve.test\\nx\n' > eve.cnf
openssl req -x509 -new -key eve.key -subj "/CN=eve" -days 36500 -config eve.cnf -extensions ext -out eve.crt
rm eve.cnf
