//! Control connections that have data connections, or expect them, as all workers know them.
//!
//! A data connection may belong to another worker than its control connection. What the first has to know of the second
//! stands here, behind a lock that FTP's commands, the ends of data connections and a synchronisation master take.

use crate::announce::{Note, due};
use crate::connection_info::{ConnectionInfo, ControlKey};
use crate::persist::Handle;
use crate::tables::SyncRules;
use crate::tick::Tick;
use hashbrown::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Control connections that have data connections, at most. Those beyond are not kept alive by them.
const PLACES: usize = 65_536;

/// The control connection of a data connection, in [`Conn::control`](crate::conn::Conn::control): a number with this
/// bit, which no template's handle has.
const CONTROL_BIT: u32 = 1 << 31;

/// Names a control connection that has data connections, or expects them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ControlId(u32);

impl ControlId {
    /// What [`Conn::control`](crate::conn::Conn::control) holds.
    pub(crate) fn word(self) -> u32 {
        self.0 | CONTROL_BIT
    }

    /// From what [`Conn::control`](crate::conn::Conn::control) holds, if it names a control connection rather than a
    /// template.
    pub(crate) fn of_word(word: u32) -> Option<ControlId> {
        (word & CONTROL_BIT != 0 && word != crate::conn::NIL).then_some(ControlId(word & !CONTROL_BIT))
    }
}

/// What is known of one.
#[derive(Clone, Debug)]
struct Place {
    key: ControlKey,
    /// Data connections that name it, expected ones included.
    names: u32,
    /// Is it there itself? One that a state file names may come after its data connections, or never.
    lives: bool,
    /// As its worker told it last.
    info: Option<ConnectionInfo>,
    /// The template that controls it.
    template: Option<Handle>,
    /// When it was last announced for its data connections.
    note: Option<Note>,
}

#[derive(Debug)]
struct Places {
    slots: Vec<Place>,
    free: Vec<u32>,
    by_key: HashMap<ControlKey, u32>,
}

/// All of them, by all workers.
#[derive(Debug)]
pub(crate) struct Named(Mutex<Places>);

impl Named {
    /// Takes all memory now; of most of it nothing is used while nobody speaks FTP.
    pub(crate) fn new() -> Named {
        Named(Mutex::new(Places {
            slots: Vec::with_capacity(PLACES),
            free: Vec::with_capacity(PLACES),
            by_key: HashMap::with_capacity(PLACES),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        // Nothing panics while it holds the lock; and if it did, the places would still be consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A control connection begins to have data connections. `None` if there is no place left.
    pub(crate) fn begin(&self, key: ControlKey) -> Option<ControlId> {
        let mut places = self.lock();
        let id = places.place(key)?;
        places.slots[id.0 as usize].lives = true;
        Some(id)
    }

    /// A control connection comes from elsewhere: the place that its data connections made for it, if they came first.
    pub(crate) fn claim(&self, key: &ControlKey) -> Option<ControlId> {
        let mut places = self.lock();
        let slot = *places.by_key.get(key)?;
        places.slots[slot as usize].lives = true;
        Some(ControlId(slot))
    }

    /// A data connection comes from elsewhere, and names its control connection, which may come later.
    pub(crate) fn rejoin(&self, key: ControlKey) -> Option<ControlId> {
        let mut places = self.lock();
        let id = places.place(key)?;
        places.slots[id.0 as usize].names += 1;
        Some(id)
    }

    /// A data connection, expected or there, names its control connection.
    pub(crate) fn join(&self, id: ControlId) {
        self.change(id, |place| place.names += 1);
    }

    /// It is gone.
    pub(crate) fn leave(&self, id: ControlId) {
        self.change(id, |place| place.names = place.names.saturating_sub(1));
    }

    /// The control connection itself is gone. Its place stays taken until nobody names it.
    pub(crate) fn end(&self, id: ControlId) {
        self.change(id, |place| (place.lives, place.info) = (false, None));
    }

    /// How the control connection is now.
    pub(crate) fn tell(&self, id: ControlId, info: ConnectionInfo, template: Option<Handle>) {
        self.change(id, |place| (place.info, place.template) = (Some(info), template));
    }

    fn change(&self, id: ControlId, change: impl FnOnce(&mut Place)) {
        let mut places = self.lock();
        let Some(place) = places.slots.get_mut(id.0 as usize) else { return };
        change(place);
        if !place.lives && place.names == 0 {
            let key = place.key;
            // Not a second time, if somebody names what is free.
            if places.by_key.remove(&key).is_some() {
                places.free.push(id.0);
            }
        }
    }

    /// Does this control connection have data connections?
    pub(crate) fn is_named(&self, id: ControlId) -> bool {
        self.lock().slots.get(id.0 as usize).is_some_and(|place| place.names > 0)
    }

    /// What others call it.
    pub(crate) fn key(&self, id: ControlId) -> Option<ControlKey> {
        self.lock().slots.get(id.0 as usize).map(|place| place.key)
    }

    /// The template that controls it.
    pub(crate) fn template(&self, id: ControlId) -> Option<Handle> {
        self.lock().slots.get(id.0 as usize)?.template
    }

    /// The control connection as a peer shall know it, because a packet of one of its data connections was seen; `None`
    /// if the rules say that it need not know now (spec `sync.md` §4).
    pub(crate) fn announce(&self, id: ControlId, rules: &SyncRules, now: Tick) -> Option<ConnectionInfo> {
        let mut places = self.lock();
        let place = places.slots.get_mut(id.0 as usize)?;
        if rules.persist_mode && place.template.is_some() {
            return None;
        }
        let info = place.info.as_ref()?;
        if rules.version == 0 && info.caddr.is_ipv6() {
            return None;
        }
        let next = due(info.protocol, info.state, info.timeout_ms, rules.threshold, place.note, rules, now)?;
        place.note = Some(next);
        Some(info.clone())
    }
}

impl Places {
    /// The place of this control connection, a new one if it has none.
    fn place(&mut self, key: ControlKey) -> Option<ControlId> {
        if let Some(&slot) = self.by_key.get(&key) {
            return Some(ControlId(slot));
        }
        let new = Place { key, names: 0, lives: false, info: None, template: None, note: None };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = new;
                slot
            }
            None if self.slots.len() == PLACES => return None,
            None => {
                self.slots.push(new);
                self.slots.len() as u32 - 1
            }
        };
        self.by_key.insert(key, slot);
        Some(ControlId(slot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn key(number: u32) -> ControlKey {
        let (client, vaddr) = (Ipv4Addr::from_bits(number), Ipv4Addr::from_bits(100));
        ControlKey { protocol: 6, client_net: client.into(), cport: 40_500, vaddr: vaddr.into(), vport: 21 }
    }

    #[test]
    fn a_place_is_free_when_nobody_names_it() {
        let all = Named::new();
        let (one, other) = (all.begin(key(1)).unwrap(), all.begin(key(2)).unwrap());
        assert_eq!(ControlId::of_word(other.word()), Some(other));
        assert_eq!((ControlId::of_word(crate::conn::NIL), ControlId::of_word(77)), (None, None));
        all.join(one);
        assert!(all.is_named(one) && !all.is_named(other));
        all.end(one);
        assert_ne!(all.begin(key(3)), Some(one));
        all.leave(one);
        // Nobody is left who could say it twice; but if somebody did, the place would not be given away twice.
        all.leave(one);
        assert_eq!(all.begin(key(4)), Some(one));
        for number in 5..PLACES as u32 + 2 {
            assert!(all.begin(key(number)).is_some());
        }
        assert_eq!(all.begin(key(0)), None);
    }

    #[test]
    fn data_connections_from_elsewhere_may_come_first() {
        let all = Named::new();
        let id = all.rejoin(key(1)).unwrap();
        assert_eq!(all.rejoin(key(1)), Some(id));
        assert_eq!((all.claim(&key(1)), all.claim(&key(2))), (Some(id), None));
        assert_eq!(all.key(id), Some(key(1)));
        // One whose control connection never comes.
        let lost = all.rejoin(key(3)).unwrap();
        all.leave(lost);
        assert_eq!(all.claim(&key(3)), None);
        all.leave(id);
        all.end(id);
        assert!(all.is_named(id));
        all.leave(id);
        assert_eq!(all.claim(&key(1)), None);
    }
}
