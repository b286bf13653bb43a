#!/bin/bash
# The cluster itself: a pod runs, names resolve in it, exec and logs answer, services reach pods, Redis and S3 are there.
. "$(dirname "$0")/lib.sh"
trap end EXIT
begin

step "a pod becomes Ready and says something"
apply <<EOF
apiVersion: v1
kind: Pod
metadata: {name: hello, labels: {app: hello}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: app
    image: $TOOLBOX_IMAGE
    imagePullPolicy: Never
    command: [bash, -c, "echo hello from \$(hostname); exec sleep infinity"]
EOF
k wait --for=condition=Ready pod/hello --timeout=60s >/dev/null

step "exec and logs answer"
expect "exec" hello "$(k exec hello -- hostname)"
expect "logs" "hello from hello" "$(k logs hello)"

step "names of services resolve in a pod"
expect "kubernetes.default" "$API_SERVICE_IP" "$(k exec hello -- getent ahostsv4 kubernetes.default | awk 'NR == 1 { print $1 }')"
k exec hello -- getent hosts redis.storage s3.storage >/dev/null || fail "redis.storage or s3.storage has no address"
if k exec hello -- getent hosts example.com >/dev/null 2>&1; then fail "a name of the outside resolved"; fi

step "Redis and S3 answer through their services"
expect_in "Redis through its service" NOAUTH "$(k exec hello -- timeout 5 bash -c 'exec 3<>/dev/tcp/redis.storage/6379; printf "PING\r\n" >&3; head -n 1 <&3')"
expect_in "S3 through its service" "403" "$(k exec hello -- timeout 5 bash -c 'exec 3<>/dev/tcp/s3.storage/9000; printf "GET / HTTP/1.0\r\n\r\n" >&3; head -n 1 <&3')"

step "a service reaches a pod, and a pod itself through its service"
apply <<EOF
apiVersion: v1
kind: Pod
metadata: {name: echo, labels: {app: echo}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: app
    image: $TOOLBOX_IMAGE
    imagePullPolicy: Never
    # The base system has perl and no other server.
    command: [perl, -MIO::Socket::INET, -e, "\$s = IO::Socket::INET->new(LocalPort => 8080, Listen => 5, ReuseAddr => 1) or die; while (\$c = \$s->accept) { print \$c qq(echo\n); close \$c }"]
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: echo}, ports: [{port: 80, targetPort: 8080}]}
EOF
k wait --for=condition=Ready pod/echo --timeout=60s >/dev/null
for from in hello echo; do
    reaches() { k exec "$from" -- timeout 2 bash -c "exec 3<>/dev/tcp/echo.$NS/80; head -n 1 <&3" | grep -q echo; }
    until_true 20 "$from reaches the service echo" reaches
done

step "nothing leaves the machine"
if k exec hello -- timeout 2 bash -c 'exec 3<>/dev/tcp/192.0.2.1/80' 2>/dev/null; then fail "a pod reached an outside address"; fi
