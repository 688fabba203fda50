# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_shuntadm_global_optspecs
    string join \n socket= json A/add-service E/edit-service D/delete-service C/clear L/list Z/zero a/add-server e/edit-server d/delete-server set h/help v/version R/restore S/save start-daemon= stop-daemon= t/tcp-service= u/udp-service= sctp-service= f/fwmark-service= 6/ipv6 g/gatewaying i/ipip m/masquerading sort p/persistent= s/scheduler= M/netmask= pe= b/sched-flags= o/ops r/real-server= w/weight= x/u-threshold= y/l-threshold= tun-type= tun-port= tun-nocsum tun-csum tun-remcsum n/numeric c/connection timeout daemon stats rate thresholds persistent-conn tun-info nosort X/exact mcast-interface= syncid= mcast-group= mcast-port= mcast-ttl= sync-maxlen= atomic
end

function __fish_shuntadm_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_shuntadm_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_shuntadm_using_subcommand
    set -l cmd (__fish_shuntadm_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c shuntadm -n "__fish_shuntadm_needs_command" -l socket -d 'the control socket; only before all other words (default: $SHUNT_SOCKET, then /run/shunt/control.sock)' -r
complete -c shuntadm -n "__fish_shuntadm_needs_command" -l start-daemon -d 'start connection sync daemon: master or backup' -r
complete -c shuntadm -n "__fish_shuntadm_needs_command" -l stop-daemon -d 'stop connection sync daemon: master or backup' -r
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s t -l tcp-service -d 'service-address is host[:port]' -r
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s u -l udp-service -d 'service-address is host[:port]' -r
complete -c shuntadm -n "__fish_shuntadm_needs_command" -l sctp-service -d 'service-address is host[:port]' -r
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s f -l fwmark-service -d 'fwmark is an integer greater than zero' -r
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s p -l persistent -d 'persistent service, for so many seconds (default 360)' -r
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s s -l scheduler -d 'one of rr|wrr|lc|wlc|lblc|lblcr|dh|sh|sed|nq|fo|ovf|mh, the default scheduler is wlc.' -r
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s M -l netmask -d 'persistent granularity mask' -r
complete -c shuntadm -n "__fish_shuntadm_needs_command" -l pe -d 'alternate persistence engine may be sip, not set by default.' -r
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s b -l sched-flags -d 'scheduler flags (comma-separated)' -r
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s r -l real-server -d 'server-address is host (and port)' -r
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s w -l weight -d 'capacity of real server' -r
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s x -l u-threshold -d 'upper threshold of connections' -r
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s y -l l-threshold -d 'lower threshold of connections' -r
complete -c shuntadm -n "__fish_shuntadm_needs_command" -l tun-type -d 'one of ipip|gue|gre, the default tunnel type is ipip.' -r
complete -c shuntadm -n "__fish_shuntadm_needs_command" -l tun-port -d 'tunnel destination port' -r
complete -c shuntadm -n "__fish_shuntadm_needs_command" -l mcast-interface -d 'multicast interface for connection sync' -r
complete -c shuntadm -n "__fish_shuntadm_needs_command" -l syncid -d 'syncid for connection sync (default 0)' -r
complete -c shuntadm -n "__fish_shuntadm_needs_command" -l mcast-group -d 'IPv4/IPv6 group (default=224.0.0.81)' -r
complete -c shuntadm -n "__fish_shuntadm_needs_command" -l mcast-port -d 'UDP port (default=8848)' -r
complete -c shuntadm -n "__fish_shuntadm_needs_command" -l mcast-ttl -d 'Multicast TTL (default=1)' -r
complete -c shuntadm -n "__fish_shuntadm_needs_command" -l sync-maxlen -d 'Max sync message length (default=1472)' -r
complete -c shuntadm -n "__fish_shuntadm_needs_command" -l json -d 'before -L: any list as JSON'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s A -l add-service -d 'add virtual service with options'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s E -l edit-service -d 'edit virtual service with options'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s D -l delete-service -d 'delete virtual service'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s C -l clear -d 'clear the whole table'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s L -s l -l list -d 'list the table'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s Z -l zero -d 'zero counters in a service or all services'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s a -l add-server -d 'add real server with options'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s e -l edit-server -d 'edit real server with options'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s d -l delete-server -d 'delete real server'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -l set -d 'set connection timeout values'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s h -l help -d 'display this help message'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s v -l version -d 'display the version'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s R -l restore -d 'restore rules from stdin'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s S -l save -d 'save rules to stdout'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s 6 -l ipv6 -d 'fwmark entry uses IPv6'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s g -l gatewaying -d 'gatewaying (direct routing) (default)'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s i -l ipip -d 'ipip encapsulation (tunneling)'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s m -l masquerading -d 'masquerading (NAT)'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -l sort -d 'does nothing, for backwards compatibility'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s o -l ops -d 'one-packet scheduling'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -l tun-nocsum -d 'tunnel encapsulation without checksum'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -l tun-csum -d 'tunnel encapsulation with checksum'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -l tun-remcsum -d 'tunnel encapsulation with remote checksum'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s n -l numeric -d 'numeric output of addresses and ports'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s c -l connection -d 'output of current IPVS connections'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -l timeout -d 'output of timeout (tcp tcpfin udp)'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -l daemon -d 'output of daemon information'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -l stats -d 'output of statistics information'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -l rate -d 'output of rate information'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -l thresholds -d 'output of thresholds information'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -l persistent-conn -d 'output of persistent connection info'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -l tun-info -d 'output of tunnel information'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -l nosort -d 'disable sorting output of service/server entries'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -s X -l exact -d 'expand numbers (display exact values)'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -l atomic -d 'with --restore: all lines or none, in one publication; the first error is told with its line number'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -f -a "get" -d 'show a setting (a sysctl net.ipv4.vs.NAME), or all of them'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -f -a "help" -d 'this text; `-h\' is ipvsadm\'s'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -f -a "mark" -d 'rules of firewall marks; keys: family source destination protocol sports dports nic_port; load replaces all by those of standard input'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -f -a "ports" -d 'what is in force on each NIC port, and what it has counted'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -f -a "set" -d 'change a setting'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -f -a "stats" -d 'connections, packets and bytes of all services together, and their rates'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -f -a "sync" -d 'the synchronisation daemons, and what they have done'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -f -a "version" -d 'the version of the daemon'
complete -c shuntadm -n "__fish_shuntadm_needs_command" -f -a "workers" -d 'packets of each worker: received, sent, dropped and why'
