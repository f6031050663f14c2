#!/usr/bin/env bash
# A Slurm of one node on this machine, without systemd and beside any other: tests/slurm/cluster.sh start FOLDER.
set -euo pipefail

usage='usage: tests/slurm/cluster.sh start FOLDER | restart-node FOLDER | stop FOLDER

  start          controller, node daemon and munge, all files in FOLDER; prints what to export (SLURM_CONF=...)
  restart-node   stop the node daemon and start it again; steps go on, as on a real node
  stop           cancel every job and end the daemons

Needs root and the packages slurm-wlm and munge of Debian or Ubuntu. Requeued jobs start again after seconds.'

[ $# = 2 ] || { echo "$usage" >&2; exit 2; }
what=$1
mkdir -p "$2"
folder=$(cd -- "$2" && pwd -P)
export SLURM_CONF=$folder/slurm.conf PATH=$PATH:/usr/sbin

# alive NAME: whether the daemon that FOLDER has the number of is there, and is that daemon.
alive() { [ -f "$folder/$1.pid" ] && [ "$(cat "/proc/$(<"$folder/$1.pid")/comm" 2>/dev/null)" = "$1" ]; }

# until_true SECONDS COMMAND...: run it again and again until it succeeds.
until_true() {
  local tries=$(($1 * 5))
  shift
  until "$@" >/dev/null 2>&1; do
    ((tries-- > 0)) || { echo "cluster.sh: waited in vain for: $*" >&2; return 1; }
    sleep 0.2
  done
}

end() {
  if alive "$1"; then
    kill "$(<"$folder/$1.pid")"
    until_true 20 gone "$1"
  fi
}
gone() { ! alive "$1"; }

node_is_up() { [ "$(sinfo -h -o %t)" = idle ] || [ "$(sinfo -h -o %t)" = mix ] || [ "$(sinfo -h -o %t)" = alloc ]; }

configure() {
  local host cores memory
  host=$(hostname -s)
  cores=$(nproc)
  memory=$(($(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo) / 1024))
  # OverSubscribe: the runs of a test are small, and four share a core. cred_expire and KillWait: what a requeued job
  # waits for, two minutes by default.
  cat >"$SLURM_CONF" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${CODD_SLURM_PORT:-16817}
SlurmdPort=$((${CODD_SLURM_PORT:-16817} + 1))
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,batch_sched_delay=1
SelectType=select/linear
ReturnToService=2
KillWait=5
MessageTimeout=10
OverTimeLimit=0
MinJobAge=7200
MaxArraySize=1001
JobRequeue=1
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores RealMemory=$((memory * 9 / 10)) State=UNKNOWN
PartitionName=test Nodes=$host Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
CONF
}

start_node() {
  slurmd -L "$folder/slurmd.log"
  until_true 30 node_is_up
}

case $what in
  start)
    [ "$(id -u)" = 0 ] || { echo "cluster.sh: the daemons need root" >&2; exit 2; }
    mkdir -p "$folder/state" "$folder/spool"
    configure
    if ! alive munged; then
      [ -f "$folder/munge.key" ] || { dd if=/dev/urandom of="$folder/munge.key" bs=1024 count=1 status=none; chmod 400 "$folder/munge.key"; }
      munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
        --log-file="$folder/munged.log" --seed-file="$folder/munge.seed"
    fi
    if ! alive slurmctld; then
      slurmctld -L "$folder/slurmctld.log"
      until_true 20 scontrol ping
    fi
    alive slurmd || start_node
    echo "export SLURM_CONF=$SLURM_CONF"
    ;;
  restart-node)
    end slurmd
    start_node
    ;;
  stop)
    if alive slurmctld; then
      scancel --quiet --full --state=PENDING --user=root || true
      scancel --quiet --full --user=root || true
      sleep 1
    fi
    end slurmd
    end slurmctld
    end munged
    ;;
  *)
    echo "$usage" >&2
    exit 2
    ;;
esac
