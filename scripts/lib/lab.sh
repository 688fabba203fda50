# shellcheck shell=bash
# The lab: a client, a director and three real servers in network namespaces, joined by two bridges. Sourced after
# output.sh and cleanup.sh. Nothing of the host's own network is touched; every name starts with the lab's name.
#
#      client ──┐                                     ┌── s1   10.0.2.11  fd00:2::11
#   10.0.1.2    │ br-wan                       br-lan ├── s2   10.0.2.12  fd00:2::12
#   fd00:1::2   ├─────────── wan director lan ────────┤── s3   10.0.2.13  fd00:2::13
#               │           .1 (shuntd)  .1           │
#               └────────────── net ──────────────────┘
#                         .254 (a router) .254
#
# * "net" holds both bridges and is the router by which direct-routing and tunnel replies go straight to the client.
# * A server chooses the way back by source address: from a VIP by the router, from its own address by the director.
#   So NAT, direct routing and tunnels work side by side, without switching anything over.
# * The director's ends of the cables ("wan", "lan") belong to shuntd. Its kernel lives on the twins: there are the
#   addresses, and it is the twin that answers ARP, ND and ping.

lab_client4=10.0.1.2 lab_client6=fd00:1::2
lab_vip4=10.0.1.100 lab_vip6=fd00:1::100
lab_servers=(s1 s2 s3)

# server_address s2 4 → 10.0.2.12
server_address() { case $2 in 4) echo "10.0.2.1${1#s}" ;; 6) echo "fd00:2::1${1#s}" ;; esac; }

# Where a lab keeps its files.
lab_dir() { echo "${TMPDIR:-/tmp}/$1"; }

# in_ns LAB HOST COMMAND…
in_ns() {
    local lab=$1 host=$2
    shift 2
    ip netns exec "$lab-$host" "$@"
}

# cable LAB HOST INTERFACE NET-INTERFACE BRIDGE: a veth pair from a host to a bridge. The senders on both ends compute
# checksums and cut segments themselves: frames that reach a DPDK port must look as they would on a real wire.
_cable() {
    local lab=$1 host=$2 interface=$3 net_interface=$4 bridge=$5
    ip link add "$interface" netns "$lab-$host" type veth peer name "$net_interface" netns "$lab-net"
    ip -n "$lab-net" link set "$net_interface" master "$bridge"
    _plain_wire "$lab" "$host" "$interface"
    _plain_wire "$lab" net "$net_interface"
    in_ns "$lab" net sysctl -qw "net.ipv6.conf.$net_interface.disable_ipv6=1"
    ip -n "$lab-net" link set "$net_interface" up
    ip -n "$lab-$host" link set "$interface" up
}

_plain_wire() { in_ns "$1" "$2" ethtool -K "$3" tx off tso off gso off gro off >/dev/null 2>&1 || true; }

_namespace() {
    ip netns add "$1-$2"
    in_ns "$1" "$2" sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 \
        net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0
    ip -n "$1-$2" link set lo up
}

# lab_up LAB: everything but shuntd.
lab_up() {
    local lab=$1 dir server
    dir=$(lab_dir "$lab")
    mkdir -p "$dir"
    chmod 0755 "$dir"
    _net_up "$lab"
    _client_up "$lab"
    _director_up "$lab"
    for server in "${lab_servers[@]}"; do _server_up "$lab" "$server"; done
}

_net_up() {
    local lab=$1 bridge
    _namespace "$lab" net
    for bridge in br-wan br-lan; do
        ip -n "$lab-net" link add "$bridge" type bridge stp_state 0 forward_delay 0 mcast_snooping 0
        _plain_wire "$lab" net "$bridge"
        ip -n "$lab-net" link set "$bridge" up
    done
    in_ns "$lab" net sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.send_redirects=0
    ip -n "$lab-net" address add 10.0.1.254/24 dev br-wan
    ip -n "$lab-net" address add fd00:1::254/64 dev br-wan nodad
    ip -n "$lab-net" address add 10.0.2.254/24 dev br-lan
    ip -n "$lab-net" address add fd00:2::254/64 dev br-lan nodad
}

_client_up() {
    local lab=$1
    _namespace "$lab" client
    _cable "$lab" client eth0 client br-wan
    ip -n "$lab-client" address add "$lab_client4/24" dev eth0
    ip -n "$lab-client" address add "$lab_client6/64" dev eth0 nodad
    # Thousands of short connections to one address: take ports from a wide range, and do not run out of them.
    in_ns "$lab" client sysctl -qw net.ipv4.ip_local_port_range="2048 65000"
}

_director_up() {
    local lab=$1
    _namespace "$lab" director
    in_ns "$lab" director sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.send_redirects=0
}

# The cables of a director whose NIC ports read the kernel's interfaces (af_packet, af_xdp). The kernel sees each frame
# as well; it must not answer, because its twin does: no ARP, no IPv6, and no IPv4 from where it has no route back.
_director_cables() {
    local lab=$1 interface
    for interface in wan lan; do
        _cable "$lab" director "$interface" "d-$interface" "br-$interface"
        ip -n "$lab-director" link set "$interface" arp off
        in_ns "$lab" director sysctl -qw "net.ipv6.conf.$interface.disable_ipv6=1" "net.ipv4.conf.$interface.rp_filter=1" \
            "net.ipv4.conf.$interface.forwarding=0"
    done
}

_server_up() {
    local lab=$1 server=$2 own4 own6
    own4=$(server_address "$server" 4) own6=$(server_address "$server" 6)
    _namespace "$lab" "$server"
    _cable "$lab" "$server" eth0 "$server" br-lan
    # It has the VIP (for direct routing and tunnels), but must not say so on the network: the director does.
    in_ns "$lab" "$server" sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
    ip -n "$lab-$server" address add "$own4/24" dev eth0
    ip -n "$lab-$server" address add "$own6/64" dev eth0 nodad
    ip -n "$lab-$server" address add "$lab_vip4/32" dev lo
    ip -n "$lab-$server" address add "$lab_vip6/128" dev lo nodad
    ip -n "$lab-$server" route add default via 10.0.2.1
    ip -n "$lab-$server" route add default via fd00:2::1
    ip -n "$lab-$server" route add default via 10.0.2.254 table 100
    ip -n "$lab-$server" route add default via fd00:2::254 table 100
    ip -n "$lab-$server" rule add from "$lab_vip4" lookup 100
    ip -n "$lab-$server" -6 rule add from "$lab_vip6" lookup 100
    _nginx_up "$lab" "$server"
}

# A real nginx with its own configuration, prefix and pid file.
_nginx_up() {
    local lab=$1 server=$2 root
    root=$(lab_dir "$lab")/$server
    mkdir -p "$root/www" "$root/tmp"
    echo "$server" >"$root/www/index.html"
    cat >"$root/nginx.conf" <<NGINX
user root;
daemon on;
worker_processes 1;
pid $root/nginx.pid;
error_log $root/error.log;
events { worker_connections 4096; }
http {
    access_log off;
    sendfile on;
    types { text/html html; }
    default_type application/octet-stream;
    client_body_temp_path $root/tmp; proxy_temp_path $root/tmp; fastcgi_temp_path $root/tmp;
    uwsgi_temp_path $root/tmp; scgi_temp_path $root/tmp;
    add_header X-Server $server;
    server {
        listen 80 backlog=4096;
        listen [::]:80 backlog=4096;
        root $root/www;
    }
}
NGINX
    in_ns "$lab" "$server" nginx -p "$root" -c "$root/nginx.conf" -e "$root/error.log"
}

# lab_servers_up LAB SHUNT-RIG: the UDP echo on port 7 and the tunnel end of each server.
lab_servers_up() {
    local lab=$1 rig=$2 server label dir
    dir=$(lab_dir "$lab")
    for server in "${lab_servers[@]}"; do
        # Started on each address by itself, so that an answer leaves from the address that was asked.
        lab_spawn "$lab" "$server" "echo-$server" "$rig" udp-echo --name "$server" \
            --bind "$lab_vip4:7" --bind "[$lab_vip6]:7" \
            --bind "$(server_address "$server" 4):7" --bind "[$(server_address "$server" 6)]:7"
        lab_spawn "$lab" "$server" "decap-$server" "$rig" decap
    done
    for server in "${lab_servers[@]}"; do
        for label in "echo-$server" "decap-$server"; do
            wait_for 5 "$label is ready" grep -q ready "$dir/$label.log" || {
                show_log "$dir/$label.log"
                return 1
            }
        done
    done
}

# lab_spawn LAB HOST LABEL COMMAND…: in the background; its pid goes to LABEL.pid and its words to LABEL.log.
lab_spawn() {
    local lab=$1 host=$2 label=$3 dir
    dir=$(lab_dir "$lab")
    shift 3
    ip netns exec "$lab-$host" setsid "$@" >>"$dir/$label.log" 2>&1 </dev/null &
    echo $! >"$dir/$label.pid"
}

# lab_down LAB: ends what runs in the lab's namespaces, removes them and the lab's files. May be called at any point of
# the lab's life, and twice.
lab_down() {
    local lab=$1 name pid dir
    dir=$(lab_dir "$lab")
    # A process that has been started but has not entered its namespace yet is known by its pid file only.
    for name in "$dir"/*.pid "$dir"/*/*.pid; do
        [[ -s $name ]] && kill -TERM "$(cat "$name")" 2>/dev/null
    done
    while read -r name _; do
        [[ $name == "$lab"-* ]] || continue
        for pid in $(ip netns pids "$name" 2>/dev/null); do end_process "$pid" 3; done
        ip netns delete "$name"
    done < <(ip netns list 2>/dev/null)
    rm -rf "$dir"
}
