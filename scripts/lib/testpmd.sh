# shellcheck shell=bash
# DPDK's testpmd as a child that is spoken to. Sourced after cleanup.sh; $dir is the run's folder, with hugepages in
# $dir/huge.

# testpmd_start LABEL CPU EAL-OPTION… -- TESTPMD-OPTION…: both its threads run on that CPU. Returns at its first prompt.
testpmd_start() {
    local label=$1 cpu=$2 eal=()
    shift 2
    while [[ $1 != -- ]]; do
        eal+=("$1")
        shift
    done
    shift
    mkfifo "$dir/$label.in"
    # A prefix of its own, so that it cannot meet another DPDK process of the machine.
    stdbuf -o0 dpdk-testpmd --lcores "0@$cpu,1@$cpu" --no-pci --huge-dir "$dir/huge" --file-prefix "${dir##*/}-$label" -m 256 \
        "${eal[@]}" -- -i --nb-cores=1 --no-mlockall "$@" <"$dir/$label.in" >"$dir/$label.log" 2>&1 &
    undo rm -rf "/var/run/dpdk/${dir##*/}-$label"
    undo end_process $!
    # Kept open, or testpmd would see the end of its input after the first command.
    exec {_testpmd_in}>"$dir/$label.in"
    declare -gi "_testpmd_fd_$label=$_testpmd_in"
    wait_for 30 "testpmd ($label) is ready" grep -q 'testpmd>' "$dir/$label.log" || {
        show_log "$dir/$label.log"
        die "testpmd did not start"
    }
}

# testpmd_say LABEL COMMAND: and waits until it has been carried out.
testpmd_say() {
    local label=$1 command=$2 fd=_testpmd_fd_$1 prompts
    prompts=$(_testpmd_prompts "$label")
    printf '%s\n' "$command" >&"${!fd}"
    wait_for 15 "testpmd ($label) carries out: $command" _testpmd_has_prompts "$label" "$((prompts + 1))" ||
        die "testpmd ($label) hangs"
}

_testpmd_prompts() { grep -o 'testpmd>' "$dir/$1.log" | wc -l; }

_testpmd_has_prompts() { (($(_testpmd_prompts "$1") >= $2)); }

# testpmd_stats LABEL: sets testpmd_rx and testpmd_tx, the packets that its NIC port 0 received and sent.
testpmd_stats() {
    local label=$1 text
    testpmd_say "$label" "show port stats 0"
    sleep 0.2
    text=$(sed -n '/NIC statistics for port 0/,$p' "$dir/$label.log")
    testpmd_rx=$(sed -n 's/.*RX-packets: *\([0-9]*\).*/\1/p' <<<"$text" | tail -n 1)
    testpmd_tx=$(sed -n 's/.*TX-packets: *\([0-9]*\).*/\1/p' <<<"$text" | tail -n 1)
}
