#!/bin/bash
# Start etcd + kube-apiserver + kube-controller-manager on loopback in 3 to 4 s; write kubeconfigs into $RUN.
#   RUN   state folder (default ./run; wiped)      BIN   folder of the binaries (default ../bin)
#   OWNER a process id: when that process is gone, all is stopped and RUN removed (a test that was killed leaves nothing)
#   PORT, ETCD_PORT, ETCD_PEER_PORT  (default: free ports)      KCM=0  leaves the controllers out
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
RUN=${RUN:-$here/run} BIN=${BIN:-$here/../bin} KCM=${KCM:-1}
RUN="$RUN" "$here/stop.sh"
rm -rf "$RUN"; mkdir -p "$RUN"; chmod 700 "$RUN"; RUN=$(cd "$RUN" && pwd); BIN=$(cd "$BIN" && pwd); cd "$RUN"
read -r p e q < <(python3 -c 'import socket as s
k=[s.socket() for _ in range(3)]; [x.bind(("127.0.0.1",0)) for x in k]; print(*[x.getsockname()[1] for x in k])')
PORT=${PORT:-$p} ETCD_PORT=${ETCD_PORT:-$e} ETCD_PEER_PORT=${ETCD_PEER_PORT:-$q}
URL=https://127.0.0.1:$PORT

# --- keys: one CA, the server's certificate, an admin client certificate, the service-account key, a token
key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }
sign() { # name subject extensions
  key "$1.key"; openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile <(printf '%b' "$3") -out "$1.crt" 2>/dev/null; rm "$1.csr"; }
key ca.key; openssl req -x509 -new -key ca.key -subj /CN=test-ca -days 30 -out ca.crt
sign server /CN=kube-apiserver 'subjectAltName=IP:127.0.0.1,IP:10.96.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc\nextendedKeyUsage=serverAuth\n'
sign admin /O=system:masters/CN=admin-cert 'extendedKeyUsage=clientAuth\n'
key sa.key; openssl ec -in sa.key -pubout -out sa.pub 2>/dev/null
TOKEN=$(openssl rand -hex 16); echo "$TOKEN,admin-token,uid-admin,\"system:masters\"" > tokens.csv
b64() { base64 -w0 < "$1"; }
kc() { # file user-lines
  cat > "$1" <<K
apiVersion: v1
kind: Config
current-context: test
clusters: [{name: test, cluster: {server: "$URL", certificate-authority-data: $(b64 ca.crt)}}]
contexts: [{name: test, context: {cluster: test, user: admin}}]
users: [{name: admin, user: {$2}}]
K
}
kc admin.kubeconfig "token: \"$TOKEN\""
kc admin-cert.kubeconfig "client-certificate-data: $(b64 admin.crt), client-key-data: $(b64 admin.key)"
printf 'URL=%q\nTOKEN=%q\nCA=%q\nKUBECONFIG=%q\nPORT=%q\nETCD_PORT=%q\n' "$URL" "$TOKEN" "$RUN/ca.crt" "$RUN/admin.kubeconfig" "$PORT" "$ETCD_PORT" > env

# --- processes
# (each command line is kept in NAME.cmd; a test restarts one with: setsid bash NAME.cmd >> NAME.log 2>&1 & echo $! > NAME.pid)
bg() { n=$1; shift; printf 'cd %q\nexec %s\n' "$RUN" "${*@Q}" > "$n.cmd"; setsid bash "$n.cmd" > "$n.log" 2>&1 < /dev/null & echo $! > "$n.pid"; }
alive() { kill -0 "$(cat "$1.pid")" 2>/dev/null || { echo "$1 died:"; tail -15 "$1.log"; exit 1; }; }
bg etcd "${ETCD:-$BIN/etcd}" --data-dir "$RUN/etcd" --unsafe-no-fsync --log-level warn \
  --listen-client-urls http://127.0.0.1:$ETCD_PORT --advertise-client-urls http://127.0.0.1:$ETCD_PORT \
  --listen-peer-urls http://127.0.0.1:$ETCD_PEER_PORT --initial-advertise-peer-urls http://127.0.0.1:$ETCD_PEER_PORT \
  --initial-cluster default=http://127.0.0.1:$ETCD_PEER_PORT
bg kube-apiserver "$BIN/kube-apiserver" --etcd-servers http://127.0.0.1:$ETCD_PORT \
  --bind-address 127.0.0.1 --secure-port "$PORT" --advertise-address 127.0.0.1 --endpoint-reconciler-type none \
  --tls-cert-file server.crt --tls-private-key-file server.key --client-ca-file ca.crt \
  --token-auth-file tokens.csv --authorization-mode RBAC \
  --service-account-issuer https://kubernetes.default.svc \
  --service-account-key-file sa.pub --service-account-signing-key-file sa.key \
  --service-cluster-ip-range 10.96.0.0/16 --profiling=false ${APISERVER_FLAGS:-}
for i in $(seq 300); do
  [ "$(curl -s -m 2 --cacert ca.crt "$URL/readyz" || true)" = ok ] && break
  alive etcd; alive kube-apiserver; [ "$i" -lt 300 ] || { echo 'not ready after 60 s'; exit 1; }; sleep 0.2
done
if [ "$KCM" = 1 ]; then
  bg kube-controller-manager "$BIN/kube-controller-manager" --kubeconfig admin.kubeconfig --leader-elect=false --secure-port=0 \
    --controllers endpointslice-controller,endpoints-controller,endpointslice-mirroring-controller,serviceaccount-controller,namespace-controller
  for i in $(seq 300); do # the service-account controller has done its work when this is there
    curl -s -m 2 -f -o /dev/null --cacert ca.crt -H "Authorization: Bearer $TOKEN" "$URL/api/v1/namespaces/default/serviceaccounts/default" && break
    alive kube-controller-manager; [ "$i" -lt 300 ] || { echo 'no controllers after 60 s'; exit 1; }; sleep 0.2
  done
fi
if [ -n "${OWNER:-}" ]; then
  setsid bash -c 'while kill -0 "$1" 2>/dev/null && [ -d "$2" ]; do sleep 0.5; done; RUN="$2" "$3/stop.sh"; rm -rf "$2"' watchdog "$OWNER" "$RUN" "$here" > /dev/null 2>&1 < /dev/null 9>&- &
fi
echo "export KUBECONFIG=$RUN/admin.kubeconfig   # $URL"
