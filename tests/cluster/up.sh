#!/usr/bin/env bash
# Starts the one-node cluster that build.sh made, for root; writes $DRAWPLATE_CLUSTER/kubeconfig.
#   DRAWPLATE_CLUSTER=/scratch/cluster tests/cluster/up.sh
# down.sh ends it and undoes what the kubelet set.
set -euo pipefail
: "${DRAWPLATE_CLUSTER:?set it to the folder that build.sh filled}"
D=$DRAWPLATE_CLUSTER
BIN=$D/bin
mkdir -p "$D"/{run,log,certs,cni,containerd}
cd "$D/run"

# What down.sh puts back.
if [ ! -f "$D/undo.sysctl" ]; then
  sysctl vm.overcommit_memory kernel.panic kernel.panic_on_oops >"$D/undo.sysctl"
fi

cat >"$D/containerd.toml" <<TOML
version = 2
root = "$D/containerd/root"
state = "$D/containerd/state"
[grpc]
  address = "$D/c.sock"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  disable_apparmor = true
  sandbox_image = "localhost/pause:1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$D/cni"
TOML
cat >"$D/cni/10-bridge.conflist" <<JSON
{"cniVersion": "0.4.0", "name": "drawplate", "plugins": [
 {"type": "bridge", "bridge": "drawplate0", "isGateway": true, "ipMasq": false,
  "ipam": {"type": "host-local", "dataDir": "$D/cni-state", "ranges": [[{"subnet": "10.231.0.0/24"}]]}},
 {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
cat >"$D/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
failSwapOn: false
oomScoreAdj: 0
makeIPTablesUtilChains: false
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%}
YAML
[ -f "$D/certs/sa.key" ] || openssl genrsa -out "$D/certs/sa.key" 2048 2>/dev/null
TOKEN=$(openssl rand -hex 16)
echo "$TOKEN,admin,admin,system:masters" >"$D/tokens.csv"
cat >"$D/kubeconfig" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:16443", insecure-skip-tls-verify: true}}]
users: [{name: u, user: {token: $TOKEN}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
YAML
chmod 600 "$D/kubeconfig" "$D/tokens.csv"

begin() { # NAME COMMAND...: in the background, its log and process id kept
  local name=$1
  shift
  "$@" >"$D/log/$name.log" 2>&1 &
  echo $! >"$D/run/$name.pid"
}
until_says() { # SECONDS COMMAND...: wait until it succeeds
  local left=$1
  shift
  until "$@" >/dev/null 2>&1; do
    left=$((left - 1))
    [ $left -gt 0 ] || { echo "error: gave up on: $*" >&2; exit 1; }
    sleep 1
  done
}
KUBECTL=("$BIN/kubectl" --kubeconfig "$D/kubeconfig")
begin containerd containerd --config "$D/containerd.toml"
begin etcd "$BIN/etcd" --data-dir "$D/etcd" --unsafe-no-fsync --listen-peer-urls http://127.0.0.1:12380 \
  --listen-client-urls http://127.0.0.1:12379 --advertise-client-urls http://127.0.0.1:12379
begin apiserver "$BIN/kube-apiserver" --etcd-servers=http://127.0.0.1:12379 --cert-dir="$D/certs" \
  --bind-address=127.0.0.1 --secure-port=16443 --advertise-address=127.0.0.1 --token-auth-file="$D/tokens.csv" \
  --authorization-mode=RBAC --service-account-issuer=https://drawplate.invalid \
  --service-account-key-file="$D/certs/sa.key" --service-account-signing-key-file="$D/certs/sa.key" \
  --service-cluster-ip-range=10.96.0.0/16 --allow-privileged=true --endpoint-reconciler-type=none
until_says 60 "${KUBECTL[@]}" get --raw /readyz
begin controllers "$BIN/kube-controller-manager" --kubeconfig "$D/kubeconfig" --leader-elect=false \
  --service-account-private-key-file="$D/certs/sa.key" --use-service-account-credentials
begin scheduler "$BIN/kube-scheduler" --kubeconfig "$D/kubeconfig" --leader-elect=false

# The container that holds a pod's network: Debian's static catatonit and nothing else.
until_says 30 ctr -a "$D/c.sock" version
if ! ctr -a "$D/c.sock" -n k8s.io images ls -q | grep -qx localhost/pause:1; then
  mkdir -p "$D/pause"
  cp "$(command -v catatonit || echo /usr/libexec/podman/catatonit)" "$D/pause/pause"
  printf 'FROM scratch\nCOPY pause /pause\nENTRYPOINT ["/pause", "-P"]\n' >"$D/pause/Containerfile"
  podman build --quiet -t localhost/pause:1 "$D/pause" >/dev/null
  rm -f "$D/pause.tar"
  podman save --quiet --format docker-archive -o "$D/pause.tar" localhost/pause:1
  podman rmi --force localhost/pause:1 >/dev/null
  ctr -a "$D/c.sock" -n k8s.io images import "$D/pause.tar" >/dev/null
fi
begin kubelet "$BIN/kubelet" --config "$D/kubelet.yaml" --kubeconfig "$D/kubeconfig" --hostname-override localhost \
  --root-dir "$D/kubelet" --container-runtime=remote --container-runtime-endpoint="unix://$D/c.sock"
until_says 90 sh -c "'$BIN/kubectl' --kubeconfig '$D/kubeconfig' get nodes | grep -qw Ready"
echo "up: export KUBECONFIG=$D/kubeconfig"
