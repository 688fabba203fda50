# shellcheck shell=bash
# shuntd in a lab: its configuration, start, stop, and the addresses on its twins. Sourced after lab.sh.

# The first N CPUs of this machine that we may use, as a TOML list: one per worker, shared with the rest of the lab.
_worker_cores() {
    local wanted=$1 cpus=() range first last cpu
    IFS=, read -ra ranges <<<"$(sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/self/status)"
    for range in "${ranges[@]}"; do
        first=${range%-*} last=${range#*-}
        for ((cpu = first; cpu <= last; cpu++)); do cpus+=("$cpu"); done
    done
    ((${#cpus[@]} >= wanted)) || die "$wanted workers need $wanted CPUs, but there are ${#cpus[@]}"
    (
        IFS=,
        echo "${cpus[*]:0:wanted}"
    )
}

# director_config LAB WORKERS QUEUES DEVICE STATE: writes the configuration. DEVICE: af_packet, tap or af_xdp. STATE: yes
# keeps the state in a file from second to second.
director_config() {
    local lab=$1 workers=$2 queues=$3 device=$4 state=$5 dir interface vdev index=0
    dir=$(lab_dir "$lab")
    {
        printf '[eal]\nhugepages = false\nmemory_mb = 512\n\n'
        printf '[workers]\ncores = [%s]\nidle = "sleep"\n\n' "$(_worker_cores "$workers")"
        printf '[control]\nsocket = "%s/control.sock"\n\n' "$dir"
        printf '[connections]\nmax_ipv4 = 131072\nmax_ipv6 = 65536\n\n'
        printf '[limits]\nservers = 262144\n\n'
        [[ $state != yes ]] || printf '[state]\nfile = "%s/state"\nperiod = 1\n\n' "$dir"
        for interface in wan lan; do
            case $device in
                # Rings of 4096 frames: the kernel drops what does not fit while a worker, which shares its CPU with the
                # rest of the lab, does not run.
                af_packet) vdev="net_af_packet$index,iface=$interface,qpairs=$queues,blocksz=65536,framecnt=4096" ;;
                af_xdp) vdev="net_af_xdp$index,iface=$interface,queue_count=$queues" ;;
                tap) vdev="net_tap$index,iface=d-$interface" ;;
                *) die "unknown device $device" ;;
            esac
            printf '[[nic_port]]\nname = "%s"\ndevice = "%s"\nrx_queues = %s\n\n' "$interface" "$vdev" "$queues"
            index=$((index + 1))
        done
    } >"$dir/shunt.toml"
}

# director_start LAB BIN [--workers N] [--queues N] [--device D] [--state yes]: starts shuntd of folder BIN and returns when it answers
# and its twins have their addresses.
director_start() {
    local lab=$1 bin=$2 workers=1 queues=1 device=af_packet state=no dir
    shift 2
    while (($#)); do
        case $1 in
            --workers) workers=$2 ;;
            --queues) queues=$2 ;;
            --device) device=$2 ;;
            --state) state=$2 ;;
            *) die "director_start: unknown option $1" ;;
        esac
        shift 2
    done
    dir=$(lab_dir "$lab")
    if [[ $device != tap ]] && ! ip -n "$lab-director" link show wan >/dev/null 2>&1; then
        _director_cables "$lab"
    fi
    director_config "$lab" "$workers" "$queues" "$device" "$state"
    : >"$dir/shuntd.log"
    lab_spawn "$lab" director shuntd "$bin/shuntd" --config "$dir/shunt.toml"
    if ! wait_for 20 "shuntd answers" director_answers_or_died "$lab" "$bin" || ! director_answers "$lab" "$bin"; then
        show_log "$dir/shuntd.log"
        return 1
    fi
    if [[ $device == tap ]]; then _plug_taps "$lab"; fi
    director_addresses "$lab"
}

# Waiting for a shuntd that has died would only hide the reason.
director_answers_or_died() {
    director_answers "$@" || ! process_lives "$(cat "$(lab_dir "$1")/shuntd.pid")"
}

director_answers() {
    local dir
    dir=$(lab_dir "$1")
    "$2/shuntadm" --socket "$dir/control.sock" -L -n >/dev/null 2>&1
}

# The kernel side of a DPDK TAP port is the far end of its cable: it moves to the bridges. It was made with the address
# that the NIC port has; a bridge would take frames to that address for its own.
_plug_taps() {
    local lab=$1 interface
    for interface in wan lan; do
        ip -n "$lab-director" link set "d-$interface" netns "$lab-net"
        # The kernel's queue towards shuntd: long enough for a burst that comes while its worker does not run.
        ip -n "$lab-net" link set "d-$interface" txqueuelen 10000
        ip -n "$lab-net" link set "d-$interface" address "$(_far_address "$interface")"
        in_ns "$lab" net sysctl -qw "net.ipv6.conf.d-$interface.disable_ipv6=1"
        _plain_wire "$lab" net "d-$interface"
        ip -n "$lab-net" link set "d-$interface" master "br-$interface" up
    done
}

_far_address() { case $1 in wan) echo 02:00:00:00:0a:01 ;; *) echo 02:00:00:00:0a:02 ;; esac; }

# The operator's part: addresses on the twins, as on any Linux router.
director_addresses() {
    local lab=$1 ns=$1-director interface
    for interface in wan lan; do
        wait_for 5 "the twin of $interface" ip -n "$ns" link show "twin-$interface" || return 1
        ip -n "$ns" link set "twin-$interface" up
    done
    ip -n "$ns" address replace 10.0.1.1/24 dev twin-wan
    ip -n "$ns" address replace fd00:1::1/64 dev twin-wan nodad
    ip -n "$ns" address replace "$lab_vip4/32" dev twin-wan
    ip -n "$ns" address replace "$lab_vip6/128" dev twin-wan nodad
    ip -n "$ns" address replace 10.0.2.1/24 dev twin-lan
    ip -n "$ns" address replace fd00:2::1/64 dev twin-lan nodad
}

# director_stop LAB [TERM|KILL]: and waits until it has gone.
director_stop() {
    local lab=$1 signal=${2:-TERM} pid file
    file=$(lab_dir "$lab")/shuntd.pid
    [[ -s $file ]] || return 0
    pid=$(cat "$file")
    if [[ $signal == KILL ]]; then
        kill -KILL "$pid"
        wait_for 5 "shuntd is gone" _is_gone "$pid" || return 1
    else
        end_process "$pid" 10
    fi
    rm -f "$file"
}

_is_gone() { ! process_lives "$1"; }
