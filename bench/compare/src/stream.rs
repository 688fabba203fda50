//! Packets of one stream: a template, and the few words that differ from flow to flow.

use crate::flows::{DIRECTOR_MAC, DPORT, GENERATOR_MAC, VIP4, VIP6, client};
use crate::orders::{Pattern, Payload, Stream};
use shunt_wire::checksum::fold;

/// Length of a frame as NICs see it without FCS; IPv6 and TCP need more.
const FRAME_LEN: usize = 64;
/// Length of the longest frame.
pub const FRAME_LEN_MAX: usize = 96;
/// What every frame ends with: when it was sent (8), that it is ours (1), and its stream (1).
const TRAILER_LEN: usize = 10;
const OURS: u8 = 0xa5;

const ETHERNET_LEN: usize = 14;
const UDP: u8 = 17;
const TCP: u8 = 6;

/// Length of the table from which Zipf's flows are taken.
const ZIPF_SAMPLES: usize = 1 << 20;

/// A stream that is being sent.
#[derive(Debug)]
pub struct Flows {
    order: Stream,
    template: [u8; FRAME_LEN_MAX],
    len: usize,
    /// Where the fields are that differ.
    src: usize,
    dst: usize,
    l4: usize,
    l4_sum: usize,
    /// Sums of the template's words, without the fields that differ.
    ip_base: u32,
    l4_base: u32,
    random: u64,
    next: u32,
    zipf: Vec<u32>,
    /// The real server of each flow, as the director told; empty if it was not asked.
    servers: Vec<u32>,
}

impl Flows {
    /// Frames will say that they are of stream `index`.
    #[must_use]
    pub fn new(index: usize, order: &Stream) -> Flows {
        let v4 = order.family == 4;
        let (protocol, header) = if order.payload == Payload::Udp { (UDP, 8) } else { (TCP, 20) };
        let l4 = ETHERNET_LEN + if v4 { 20 } else { 40 };
        let len = (l4 + header + TRAILER_LEN).max(FRAME_LEN);
        let mut flows = Flows {
            order: order.clone(),
            template: [0; FRAME_LEN_MAX],
            len,
            // The last four bytes of an address.
            src: if v4 { 26 } else { 34 },
            dst: if v4 { 30 } else { 50 },
            l4,
            l4_sum: l4 + if protocol == UDP { 6 } else { 16 },
            ip_base: 0,
            l4_base: 0,
            random: 0x2545_f491_4f6c_dd1d ^ u64::from(order.network),
            next: 0,
            zipf: if order.pattern == Pattern::Zipf { zipf(order.flows) } else { Vec::new() },
            servers: Vec::new(),
        };
        flows.write_template(index, protocol);
        flows
    }

    fn write_template(&mut self, index: usize, protocol: u8) {
        let (l4, len, reply) = (self.l4, self.len, self.order.replies);
        let frame = &mut self.template;
        frame[..6].copy_from_slice(&DIRECTOR_MAC);
        frame[6..12].copy_from_slice(&GENERATOR_MAC);
        let l4_len = (len - l4) as u16;
        if self.order.family == 4 {
            frame[12..14].copy_from_slice(&[8, 0]);
            frame[14..26].copy_from_slice(&[0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, protocol, 0, 0]);
            frame[16..18].copy_from_slice(&((len - ETHERNET_LEN) as u16).to_be_bytes());
            if !reply {
                frame[self.dst..self.dst + 4].copy_from_slice(&VIP4.octets());
            }
        } else {
            frame[12..14].copy_from_slice(&[0x86, 0xdd]);
            frame[14..22].copy_from_slice(&[0x60, 0, 0, 0, 0, 0, protocol, 64]);
            frame[18..20].copy_from_slice(&l4_len.to_be_bytes());
            frame[self.dst - 12..self.dst + 4].copy_from_slice(&VIP6.octets());
            let net = [0x20, 0x01, 0x0d, 0xb8, 0xc0, self.order.network];
            frame[self.src - 12..self.src - 6].copy_from_slice(&net);
        }
        let l4_port = if reply { l4 } else { l4 + 2 };
        frame[l4_port..l4_port + 2]
            .copy_from_slice(&(if reply { DPORT } else { self.order.vport }).to_be_bytes());
        if protocol == UDP {
            frame[l4 + 4..l4 + 6].copy_from_slice(&l4_len.to_be_bytes());
        } else {
            frame[l4 + 12] = 0x50;
            frame[l4 + 13] = if self.order.payload == Payload::Syn { 0x02 } else { 0x10 };
            frame[l4 + 14..l4 + 16].copy_from_slice(&8192u16.to_be_bytes());
        }
        frame[len - 2..len].copy_from_slice(&[OURS, index as u8]);
        self.ip_base = words(&frame[ETHERNET_LEN..ETHERNET_LEN + 20]);
        let addresses = if self.order.family == 4 { 26 } else { 22 };
        self.l4_base =
            words(&frame[addresses..l4]) + u32::from(protocol) + u32::from(l4_len) + words(&frame[l4..len]);
    }

    /// The number of the flow that comes next.
    #[inline]
    pub fn choose(&mut self) -> u32 {
        match self.order.pattern {
            Pattern::Uniform => ((u64::from(self.random32()) * u64::from(self.order.flows)) >> 32) as u32,
            Pattern::Zipf => {
                let place = self.random32() as usize % ZIPF_SAMPLES;
                self.zipf[place]
            }
            Pattern::Fresh => {
                self.next = self.next.wrapping_add(1);
                self.next
            }
        }
    }

    #[inline]
    fn random32(&mut self) -> u32 {
        self.random = self.random.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
        (self.random >> 32) as u32
    }

    /// Length of each frame.
    #[inline]
    #[must_use]
    pub fn frame_len(&self) -> usize {
        self.len
    }

    /// Writes the packet of flow `n`, all checksums right. `nanos` is the stamp.
    #[inline]
    pub fn write(&self, n: u32, nanos: u64, frame: &mut [u8]) {
        let (len, l4) = (self.len, self.l4);
        frame[..len].copy_from_slice(&self.template[..len]);
        let (caddr, cport) = client(self.order.network, n);
        let caddr = if self.order.family == 4 { caddr } else { caddr & 0x00ff_ffff };
        let server = self.order.replies.then(|| self.servers[n as usize]);
        let (caddr_place, cport_place) = if server.is_some() { (self.dst, l4 + 2) } else { (self.src, l4) };
        frame[caddr_place..caddr_place + 4].copy_from_slice(&caddr.to_be_bytes());
        frame[cport_place..cport_place + 2].copy_from_slice(&cport.to_be_bytes());
        let mut sum = (caddr >> 16) + (caddr & 0xffff);
        if let Some(server) = server {
            frame[self.src..self.src + 4].copy_from_slice(&server.to_be_bytes());
            sum += (server >> 16) + (server & 0xffff);
        }
        if self.order.family == 4 {
            let ip_sum = !fold(u64::from(self.ip_base + sum));
            frame[24..26].copy_from_slice(&ip_sum.to_be_bytes());
        }
        let mut l4_sum = u64::from(self.l4_base + sum + u32::from(cport));
        if nanos != 0 {
            let stamp = nanos.to_be_bytes();
            frame[len - TRAILER_LEN..len - 2].copy_from_slice(&stamp);
            l4_sum += u64::from(words(&stamp));
        }
        let l4_sum = match !fold(l4_sum) {
            // Zero would mean that there is none (RFC 768).
            0 if self.order.payload == Payload::Udp => 0xffff,
            sum => sum,
        };
        frame[self.l4_sum..self.l4_sum + 2].copy_from_slice(&l4_sum.to_be_bytes());
    }

    /// What was asked for.
    #[must_use]
    pub fn order(&self) -> &Stream {
        &self.order
    }

    /// May it be sent? Replies need to know their servers.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.order.replies || self.servers.len() == self.order.flows as usize
    }

    /// Takes over to which server each flow goes.
    pub fn set_servers(&mut self, servers: Vec<u32>) {
        self.servers = servers;
    }
}

/// The sum of the big-endian words; of an even number of bytes.
fn words(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum()
}

/// The stream that a frame is of, and its stamp; `None` if it is not ours.
#[inline]
#[must_use]
pub fn read(frame: &[u8]) -> Option<(usize, u64)> {
    let (rest, trailer) = frame.split_last_chunk::<TRAILER_LEN>()?;
    let [.., mark, stream] = *trailer;
    let stamp = u64::from_be_bytes(trailer[..8].try_into().expect("eight bytes"));
    (mark == OURS && rest.len() >= ETHERNET_LEN).then_some((usize::from(stream), stamp))
}

/// Flow numbers whose frequency follows Zipf's law with exponent 1: by the inverse of the continuous distribution.
fn zipf(flows: u32) -> Vec<u32> {
    let mut state = 7u64;
    let scale = f64::from(flows + 1).ln();
    (0..ZIPF_SAMPLES)
        .map(|_| {
            state = state.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
            let part = (state >> 11) as f64 / (1u64 << 53) as f64;
            ((part * scale).exp() as u32 - 1).min(flows - 1)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::{flow_of, real4};
    use shunt_wire::checksum::{checksum, pseudo_v4, pseudo_v6, transport_is_valid};

    fn order(family: u8, payload: Payload, replies: bool) -> Stream {
        Stream {
            network: 48,
            flows: 1000,
            family,
            payload,
            pattern: Pattern::Uniform,
            replies,
            share: 32,
            vport: 80,
        }
    }

    fn l4_is_right(flows: &Flows, frame: &[u8]) -> bool {
        let l4 = flows.l4;
        let len = frame.len() - l4;
        let protocol = if flows.order.payload == Payload::Udp { UDP } else { TCP };
        let pseudo = if flows.order.family == 4 {
            pseudo_v4(
                frame[26..30].try_into().unwrap(),
                frame[30..34].try_into().unwrap(),
                protocol,
                len as u16,
            )
        } else {
            pseudo_v6(
                frame[22..38].try_into().unwrap(),
                frame[38..54].try_into().unwrap(),
                protocol,
                len as u32,
            )
        };
        transport_is_valid(pseudo, &frame[l4..])
    }

    #[test]
    fn checksums_are_right() {
        for family in [4, 6] {
            for payload in [Payload::Udp, Payload::Syn, Payload::Ack] {
                for replies in [false, true] {
                    if family == 6 && replies {
                        continue;
                    }
                    let mut flows = Flows::new(3, &order(family, payload, replies));
                    flows.set_servers((0..1000).map(|n| real4(n % 7).into()).collect());
                    for n in 0..1000 {
                        let mut frame = [0; FRAME_LEN_MAX];
                        flows.write(n, u64::from(n) * 77_777_777_777, &mut frame);
                        let frame = &frame[..flows.frame_len()];
                        assert!(family == 6 || checksum(&frame[14..34]) == 0);
                        assert!(l4_is_right(&flows, frame), "{family} {payload:?} {replies} {n}");
                        assert_eq!(read(frame), Some((3, u64::from(n) * 77_777_777_777)));
                    }
                }
            }
        }
    }

    #[test]
    fn a_reply_goes_to_the_client() {
        let mut flows = Flows::new(0, &order(4, Payload::Udp, true));
        flows.set_servers(vec![real4(2).into(); 1000]);
        let mut frame = [0; FRAME_LEN_MAX];
        flows.write(5, 0, &mut frame);
        assert_eq!(frame[26..30], real4(2).octets());
        let caddr = u32::from_be_bytes(frame[30..34].try_into().unwrap());
        assert_eq!(flow_of(caddr, u16::from_be_bytes([frame[36], frame[37]])), (48, 5));
        assert_eq!(frame[34..36], DPORT.to_be_bytes());
    }

    #[test]
    fn zipf_prefers_the_first() {
        let samples = zipf(1_000_000);
        let share = |below: u32| samples.iter().filter(|&&n| n < below).count() as f64 / samples.len() as f64;
        // ln(11)/ln(1000001) and ln(1001)/ln(1000001).
        assert!((share(10) - 0.1736).abs() < 0.01 && (share(1000) - 0.5).abs() < 0.01);
        assert!(samples.iter().all(|&n| n < 1_000_000));
    }
}
