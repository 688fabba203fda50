use super::*;
use crate::tables::{ForwardingMethod, Hop, Outer, ServiceId, TunnelChecksum, TunnelKind};

fn server(id: u32) -> Server {
    Server {
        hop: Hop::Unresolved,
        method: ForwardingMethod::DirectRouting,
        available: true,
        tunnel: TunnelKind::Ipip,
        tunnel_checksum: TunnelChecksum::None,
        weight: 1,
        id: ServerId(id),
        service: ServiceId(0),
        dport: 80,
        daddr: [10, 0, 2, id as u8].into(),
        tunnel_source: None,
        upper_threshold: 0,
        lower_threshold: 0,
        outer: Outer::default(),
    }
}

fn key() -> TemplateKey {
    let (client_net, vaddr) = ([192, 0, 2, 9].into(), [10, 0, 1, 100].into());
    ControlKey { protocol: 6, client_net, cport: 0, vaddr, vport: 80 }.into()
}

fn create(
    all: &Templates,
    server: &Server,
    timeout_s: u32,
    now: Tick,
    usable: impl Fn(ServerId) -> bool,
) -> Option<Made> {
    all.create(&New { key: key(), server, own_port: true, timeout_s, call_id: b"" }, now, usable)
}

/// Looks through all of them. Returns how many are gone, and how many have outlived their time.
fn expire(all: &Templates, now: Tick) -> (u32, u32) {
    let (mut gone, mut outlived) = (0, 0);
    for shard in 0..Templates::shards() {
        let mut slot = 0;
        while let Looked::UpTo(next) =
            all.expire((shard, slot), now, |_| false, false, |_| gone += 1, |_| outlived += 1)
        {
            assert!(next > slot);
            slot = next;
        }
    }
    (gone, outlived)
}

/// A look takes microseconds, however many templates there are and however many of them go.
#[test]
fn large_shards_are_looked_through_in_steps() {
    let all = Templates::new(64 * 2000);
    let mut made = 0;
    for n in 0..100_000u32 {
        let client_net = n.to_be_bytes().into();
        let key = ControlKey { protocol: 6, client_net, cport: 0, vaddr: [10, 0, 1, 100].into(), vport: 80 };
        let new = New { key: key.into(), server: &server(1), own_port: true, timeout_s: 60, call_id: b"" };
        if let Some(Made::New(handle)) = all.create(&new, Tick(1000), |_| true) {
            all.leave(handle);
            made += 1;
        }
    }
    assert!(made > 90_000, "{made}");
    let step = |slot, now| {
        let mut gone = 0;
        let looked = all.expire((5, slot), Tick(now), |_| false, false, |_| gone += 1, |_| {});
        (looked, gone)
    };
    assert_eq!(step(0, 2000), (Looked::UpTo(LOOKS), 0));
    assert_eq!(step(2000 - LOOKS, 2000).1, 0);
    assert!(matches!(step(2000 - LOOKS, 2000).0, Looked::All(1400..)));
    let (looked, gone) = step(0, 70_000);
    assert_eq!((looked, gone), (Looked::UpTo(gone), LOOKS.div_ceil(REMOVAL + 1)));
    assert_eq!(expire(&all, Tick(70_000)), (made - gone, 0));
}

/// A client's first two connections come at the same time, each to another worker.
#[test]
fn two_workers_at_once_make_one_template() {
    let (all, now) = (Templates::new(640), Tick(1000));
    for _ in 0..2 {
        assert_eq!(all.join(&key(), now, |_| true), None);
    }
    let Some(Made::New(handle)) = create(&all, &server(1), 60, now, |_| true) else {
        panic!("there is room")
    };
    let late = create(&all, &server(2), 60, now, |_| true);
    assert_eq!(late, Some(Made::Joined(handle, ServerId(1))), "the client keeps one server");
    // Both connections are controlled by it.
    all.leave(handle);
    assert_eq!(expire(&all, Tick(62_000)), (0, 1));
    all.leave(handle);
    assert_eq!(expire(&all, Tick(122_000)), (1, 0));
}

/// A template that leads nowhere is found no more, but waits for its connections beside the one that took its place.
#[test]
fn the_end_of_a_replaced_template_does_not_touch_its_successor() {
    let (all, now) = (Templates::new(640), Tick(1000));
    let Some(Made::New(first)) = create(&all, &server(1), 60, now, |_| true) else { panic!("there is room") };
    let usable = |id| id == ServerId(2);
    let Some(Made::New(_)) = create(&all, &server(2), 300, now, usable) else { panic!("a new one") };
    all.leave(first);
    assert_eq!(expire(&all, Tick(62_000)), (1, 0));
    assert_eq!(all.join(&key(), Tick(62_000), usable).map(|(_, id)| id), Some(ServerId(2)));
}

/// A worker looks through the templates at the end of a round, whose clock it read at the beginning; another one has
/// used a template meanwhile.
#[test]
fn what_a_later_clock_used_has_not_expired() {
    let all = Templates::new(640);
    let made = create(&all, &server(1), 300, Tick(1000), |_| true);
    let Some(Made::New(handle)) = made else { panic!("there is room") };
    all.leave(handle);
    let stale = Tick(50_000);
    assert!(all.join(&key(), Tick(50_001), |_| true).is_some());
    assert_eq!(expire(&all, stale), (0, 0), "not 49 days old");
    all.with(handle, |template| {
        assert_eq!((template.timeout_ms, template.remaining_ms(stale.stamp())), (300_000, 300_000));
    });
    all.leave(handle);
    assert_eq!(expire(&all, stale), (0, 0));
    assert_eq!(expire(&all, Tick(350_001 + 256)), (1, 0));
}
