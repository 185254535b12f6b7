#!/usr/bin/env bash
# Ends the cluster that up.sh started, and puts back what its kubelet set on this machine.
set -uo pipefail
: "${DRAWPLATE_CLUSTER:?set it to the folder that build.sh filled}"
D=$DRAWPLATE_CLUSTER
for name in kubelet scheduler controllers apiserver etcd; do
  [ -f "$D/run/$name.pid" ] && kill "$(cat "$D/run/$name.pid")" 2>/dev/null
done
sleep 2
C=(ctr -a "$D/c.sock" -n k8s.io)
for task in $("${C[@]}" tasks ls -q 2>/dev/null); do
  "${C[@]}" tasks kill --signal SIGKILL "$task" 2>/dev/null
done
sleep 1
for container in $("${C[@]}" containers ls -q 2>/dev/null); do
  "${C[@]}" tasks rm --force "$container" >/dev/null 2>&1
  "${C[@]}" containers rm "$container" >/dev/null 2>&1
done
[ -f "$D/run/containerd.pid" ] && kill "$(cat "$D/run/containerd.pid")" 2>/dev/null
sleep 1
# Mounts of pods and sandboxes, deepest first.
awk -v d="$D/" 'index($2, d) == 1 {print $2}' /proc/mounts | sort -r | while read -r place; do umount "$place"; done
ip link del drawplate0 2>/dev/null
if [ -f "$D/undo.sysctl" ]; then
  sysctl -q -p "$D/undo.sysctl"
  rm "$D/undo.sysctl"
fi
# Control groups that the kubelet left; only empty ones can be removed.
find /sys/fs/cgroup -depth -type d -path '*/kubepods*' -exec rmdir {} + 2>/dev/null
rm -rf "$D"/{etcd,kubelet,run,cni-state}
echo "down"
