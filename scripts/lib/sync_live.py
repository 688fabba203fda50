"""Synchronisation with a live Linux kernel, both ways: called by scripts/sync-live inside a network namespace.

usage: sync_live.py ORACLE SHUNTADM SOCKET FLOWS

The kernel runs as a process, whose frames pass through `director.Director` of the oracle. shuntd has its NIC port on
`lan0` and its synchronisation on `sync0`; this program holds the far ends, `lan1` and `sync1`, and carries the messages
from one director to the other.
"""

import socket
import struct
import subprocess
import sys
import time

oracle, shuntadm, control_socket, flows = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
sys.path.insert(0, oracle + '/src')
from director import Director  # noqa: E402

ALL_FRAMES = 3
GROUP_MAC = bytes.fromhex('01005e000051')
CLIENT_MAC = bytes.fromhex('0200000001fe')
KERNEL_MAC = bytes.fromhex('020000000101')
SYN, ACK, FIN, RST = 2, 16, 1, 4
SERVICES = '''
-A -t 10.0.1.100:80 -s rr
-a -t 10.0.1.100:80 -r 10.0.2.11:8080 -m
-a -t 10.0.1.100:80 -r 10.0.2.12:8080 -m
-A -t 10.0.1.101:80 -s rr
-a -t 10.0.1.101:80 -r 10.0.2.12:80 -g
-A -t 10.0.1.102:80 -s rr
-a -t 10.0.1.102:80 -r 10.0.2.13:80 -i
-A -u 10.0.1.100:53 -s rr
-a -u 10.0.1.100:53 -r 10.0.2.11:5353 -m
-A -t 10.0.1.103:80 -s rr -p 120
-a -t 10.0.1.103:80 -r 10.0.2.14:80 -m
-A -t [fd00:1::100]:80 -s rr
-a -t [fd00:1::100]:80 -r [fd00:2::11]:8080 -m
'''.strip().splitlines()


def checksum(data):
    if len(data) % 2:
        data += b'\0'
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def packet(src, dst, protocol, payload):
    """An IP packet with the right checksums; `payload` begins with a transport header whose checksum is 0."""
    family = socket.AF_INET6 if ':' in src else socket.AF_INET
    ends = socket.inet_pton(family, src) + socket.inet_pton(family, dst)
    at = 16 if protocol == 6 else 6
    pseudo = ends + struct.pack('!IBBH', len(payload), 0, 0, protocol) if family == socket.AF_INET6 else \
        ends + struct.pack('!BBH', 0, protocol, len(payload))
    payload = payload[:at] + struct.pack('!H', checksum(pseudo + payload)) + payload[at + 2:]
    if family == socket.AF_INET6:
        return b'\x86\xdd' + struct.pack('!IHBB', 6 << 28, len(payload), protocol, 64) + ends + payload
    head = struct.pack('!BBHHHBBH', 0x45, 0, 20 + len(payload), 1, 0x4000, 64, protocol, 0) + ends
    return b'\x08\0' + head[:10] + struct.pack('!H', checksum(head)) + head[12:] + payload


def tcp(src, dst, cport, flags):
    return packet(src, dst, 6, struct.pack('!HHIIBBHHH', cport, 80, 1, 1, 0x50, flags, 1000, 0, 0))


def udp(src, dst, cport):
    return packet(src, dst, 17, struct.pack('!HHHH', cport, 53, 9, 0) + b'x')


def traffic(port_base):
    """Client packets of `flows` connections to each service: all of them are announced, some of them end."""
    for n in range(flows):
        cport = port_base + n
        v4, v6 = '192.0.2.%d' % (1 + n % 200), '2001:db8::%x' % (1 + n)
        for vip in ('10.0.1.100', '10.0.1.101', '10.0.1.102', '10.0.1.103'):
            last = {0: FIN | ACK, 1: RST}.get(n % 8, ACK)
            for flags in (SYN, ACK, ACK, last):
                yield tcp(v4, vip, cport, flags)
        for _ in range(3):
            yield udp(v4, '10.0.1.100', cport)
        for flags in (SYN, ACK, ACK):
            yield tcp(v6, 'fd00:1::100', cport, flags)


def raw(interface):
    it = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_FRAMES))
    it.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    it.bind((interface, 0))
    it.setblocking(False)
    return it


def frames(of):
    while True:
        try:
            yield of.recv(70000)
        except BlockingIOError:
            return


def shunt(line):
    done = subprocess.run([shuntadm, '--socket', control_socket] + line.split(), capture_output=True, text=True, timeout=60)
    if done.returncode:
        sys.exit('shuntadm %s: %s' % (line, done.stderr))
    return done.stdout


def entries(text):
    """Lines of -Lnc without their expiry, sorted."""
    lines = [line.split() for line in text.splitlines()[2:]]
    return sorted(' '.join(words[:1] + words[2:]) for words in lines)


def compare(what, master, backup):
    missing, extra = sorted(set(master) - set(backup)), sorted(set(backup) - set(master))
    print('%s: %d entries at the master, %d at the backup, %d missing, %d different or more'
          % (what, len(master), len(backup), len(missing), len(extra)), flush=True)
    for line in (missing[:3] + extra[:3]):
        print('  ' + line)
    return not missing and not extra and bool(master)


def kernel_to_shunt(kernel, sync):
    shunt('--start-daemon backup --mcast-interface sync0 --syncid 7')
    kernel.sh('ipvsadm --start-daemon master --mcast-interface eth1 --syncid 7')
    kernel.advance(1)
    messages = 0
    for n, frame in enumerate(traffic(20000)):
        kernel.tx('eth0', KERNEL_MAC + CLIENT_MAC + frame)
        if n % 16 == 15:
            kernel.settle()
    for _ in range(5):
        kernel.advance(1)
        for _, interface, frame in kernel.drain():
            if interface == 'eth1' and frame[:6] == GROUP_MAC:
                sync.send(frame)
                messages += 1
    time.sleep(0.5)
    print('%d messages' % messages)
    result = compare('kernel -> shunt', entries(kernel.sh('ipvsadm -Lnc')), entries(shunt('-Lnc')))
    kernel.sh('ipvsadm --stop-daemon master')
    shunt('--stop-daemon backup')
    return result


def shunt_to_kernel(kernel, sync, lan, mac):
    before = entries(shunt('-Lnc'))
    kernel.sh('ipvsadm --start-daemon backup --mcast-interface eth1 --syncid 9')
    shunt('--start-daemon master --mcast-interface sync0 --syncid 9')
    list(frames(sync))
    for n, frame in enumerate(traffic(40000)):
        lan.send(mac + CLIENT_MAC + frame)
        if n % 32 == 31:
            time.sleep(0.002)
    messages, end = 0, time.monotonic() + 4
    while time.monotonic() < end:
        for frame in frames(sync):
            if frame[:6] == GROUP_MAC:
                kernel.tx('eth1', frame)
                kernel.settle()
                messages += 1
        time.sleep(0.05)
    print('%d messages' % messages)
    master = [line for line in entries(shunt('-Lnc')) if line not in before or ':0 ' in line]
    backup = [line for line in entries(kernel.sh('ipvsadm -Lnc')) if line in master or line not in before]
    shunt('--stop-daemon master')
    return compare('shunt -> kernel', master, backup)


def main():
    sync, lan = raw('sync1'), raw('lan1')
    mac = bytes.fromhex(open('/sys/class/net/lan0/address').read().strip().replace(':', ''))
    with Director(kernel='tt', name='sync-live') as kernel:
        for line in SERVICES:
            kernel.sh('ipvsadm ' + line)
            shunt(line)
        first = kernel_to_shunt(kernel, sync)
        second = shunt_to_kernel(kernel, sync, lan, mac)
    print(shunt('sync'))
    sys.exit(0 if first and second else 1)


main()
