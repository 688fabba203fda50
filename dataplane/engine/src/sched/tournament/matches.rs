//! Matches of eight, in which the least key wins.

/// Players of a match: their keys fill a cache line.
pub const PLAYERS: usize = 8;

/// The key of a server that is not to be chosen, but for its place: greater than any fraction. A power of two, as no key
/// of such a server may be less.
pub const OUT: f64 = (1u128 << 100) as f64;

/// The keys of those who meet.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub struct Match(pub [f64; PLAYERS]);

/// A match without players.
pub const EMPTY: Match = Match([OUT; PLAYERS]);

/// For each player what leaves all keys but theirs as they are. The compiler knows how this is aligned, as it does not of
/// the arena: so reading it takes no instruction of its own.
static FLOORS: [Match; PLAYERS] = {
    let mut floors = [Match([0.0; PLAYERS]); PLAYERS];
    let mut player = 0;
    while player < PLAYERS {
        floors[player].0[player] = OUT;
        player += 1;
    }
    floors
};

/// The lesser of two numbers: one instruction, as none of them is ever NaN.
#[inline(always)]
pub fn less(one: f64, other: f64) -> f64 {
    if one < other { one } else { other }
}

/// The greater of two numbers.
#[inline(always)]
pub fn more(one: f64, other: f64) -> f64 {
    if one > other { one } else { other }
}

/// The lesser of each pair.
#[inline(always)]
fn lesser(ones: [f64; PLAYERS], others: [f64; PLAYERS]) -> [f64; PLAYERS] {
    std::array::from_fn(
        #[inline(always)]
        |n| less(ones[n], others[n]),
    )
}

/// The least of eight.
#[inline(always)]
fn least(keys: [f64; PLAYERS]) -> f64 {
    let pair = |n: usize| less(keys[n], keys[n + 4]);
    less(less(pair(0), pair(2)), less(pair(1), pair(3)))
}

/// The least key of some matches; `None` if there are none.
#[inline(always)]
pub fn least_of(matches: &[Match]) -> Option<f64> {
    let best = match matches {
        // Most services have no more than these.
        [Match(one)] => *one,
        [Match(one), Match(other)] => lesser(*one, *other),
        [Match(one), others @ ..] => {
            let mut best = *one;
            for Match(other) in others {
                best = lesser(best, *other);
            }
            best
        }
        [] => return None,
    };
    Some(least(best))
}

/// The least key of `count` matches of the arena from `first` on, but for that of the player in a spot of one of them.
#[inline(always)]
pub fn least_but(arena: &[Match], first: usize, count: usize, spot: usize) -> Option<f64> {
    // Most services have no more than these.
    match count {
        1 => Some(least(arena.get(first)?.but(spot))),
        2 => {
            let other = arena.get(2 * first + 1 - spot / PLAYERS)?;
            Some(least(lesser(arena.get(spot / PLAYERS)?.but(spot), other.0)))
        }
        _ => least_of_many_but(arena.get(first..first + count)?, spot - first * PLAYERS),
    }
}

#[inline(never)]
fn least_of_many_but(matches: &[Match], player: usize) -> Option<f64> {
    let best = matches.get(player / PLAYERS)?.but(player);
    let others = (0..).zip(matches).filter(|(nth, _)| *nth != player / PLAYERS);
    Some(least(others.fold(best, |best, (_, Match(keys))| lesser(best, *keys))))
}

impl Match {
    /// The keys, with [`OUT`] in the place of a player's, or more.
    #[inline(always)]
    fn but(&self, player: usize) -> [f64; PLAYERS] {
        let Match(floors) = &FLOORS[player % PLAYERS];
        let Match(keys) = *self;
        std::array::from_fn(|n| more(keys[n], floors[n]))
    }

    /// Puts a key in the place of a player's, and returns the winner's.
    ///
    /// Written so that the compiler makes it a dozen instructions of SSE2, and that what takes time does not wait for
    /// the key, which comes from the match below: the best of the others is found first.
    #[inline(always)]
    pub fn play(&mut self, player: usize, key: f64) -> f64 {
        let best = least(self.but(player));
        self.0[player % PLAYERS] = key;
        less(key, best)
    }
}
