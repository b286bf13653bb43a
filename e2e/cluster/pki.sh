#!/bin/bash
# Makes the certificates and kubeconfig files of one cluster in $STATE/pki, once. EC keys: made in milliseconds.
# They are good for ten days, as no test cluster gets older.

. "$(dirname "$0")/lib.sh"

pki=$STATE/pki
[ -e "$pki/done" ] && exit 0
rm -rf "$pki"
(umask 077; mkdir -p "$pki")
cd "$pki"
exec 2>openssl.log

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }

key ca
openssl req -x509 -new -key ca.key -subj /CN=juicefs-e2e-ca -days 10 -out ca.crt \
    -addext basicConstraints=critical,CA:true -addext keyUsage=critical,keyCertSign,cRLSign

# certificate NAME SUBJECT [ALTERNATIVE NAMES]
certificate() {
    key "$1"
    openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 10 -out "$1.crt" -extfile <(
        echo 'extendedKeyUsage=serverAuth,clientAuth'
        [ -z "${3:-}" ] || echo "subjectAltName=$3"
    )
    rm "$1.csr"
}

# kubeconfig NAME : how the holder of certificate NAME reaches the API server.
kubeconfig() {
    cat >"$1.conf" <<EOF
apiVersion: v1
kind: Config
clusters: [{name: e2e, cluster: {server: "https://$NODE_IP:6443", certificate-authority-data: $(base64 -w0 ca.crt)}}]
users: [{name: $1, user: {client-certificate-data: $(base64 -w0 "$1.crt"), client-key-data: $(base64 -w0 "$1.key")}}]
contexts: [{name: e2e, context: {cluster: e2e, user: $1}}]
current-context: e2e
EOF
}

certificate apiserver /CN=kube-apiserver \
    "IP:127.0.0.1,IP:$NODE_IP,IP:$API_SERVICE_IP,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.$CLUSTER_DOMAIN"
certificate apiserver-kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client
certificate admin /O=system:masters/CN=admin
certificate controller-manager /CN=system:kube-controller-manager
certificate scheduler /CN=system:kube-scheduler
certificate kube-proxy /CN=system:kube-proxy
certificate coredns /CN=system:coredns
certificate kubelet "/O=system:nodes/CN=system:node:$NODE_NAME" "IP:$NODE_IP,DNS:$NODE_NAME"
for name in admin controller-manager scheduler kube-proxy coredns kubelet; do kubeconfig $name; done

key service-account
openssl ec -in service-account.key -pubout -out service-account.pub
touch done
