//! `twos`: the better of two random ones (spec `scheduling.md` §14).

use super::load::{is_lighter, is_open, overhead};
use super::random::Random;
use crate::board::Boards;
use crate::tables::Candidate;

/// Two draws by weight; the second wins if it is strictly less busy for its weight.
pub fn pick<'a>(servers: &'a [Candidate], boards: &Boards, random: &mut Random) -> Option<&'a Candidate> {
    let total: u64 =
        servers.iter().filter(|server| is_open(boards, server)).map(|server| server.weight as u64).sum();
    if total == 0 {
        return None;
    }
    // The kernel draws from total + 1 values, so the first server has one chance more than its weight.
    let draws = [random.below(total + 1), random.below(total + 1)];
    better_of(servers, boards, draws)
}

/// The decision for two drawn numbers, each from 0 to the sum of the open servers' weights.
pub fn better_of<'a>(servers: &'a [Candidate], boards: &Boards, draws: [u64; 2]) -> Option<&'a Candidate> {
    let [first, second] = draws.map(|draw| drawn(servers, boards, draw));
    // An overload flag may rise between the sum and the walk: then a draw may find nobody.
    let (Some(first), Some(second)) = (first, second) else { return first.or(second) };
    let (first_cost, second_cost) = (overhead(boards, first.id), overhead(boards, second.id));
    if is_lighter(second_cost, second.weight, first_cost, first.weight) { Some(second) } else { Some(first) }
}

/// The open server at which the weights of the list, summed up from its start, reach `draw`.
fn drawn<'a>(servers: &'a [Candidate], boards: &Boards, draw: u64) -> Option<&'a Candidate> {
    let mut sum = 0;
    servers.iter().filter(|server| is_open(boards, server)).find(|server| {
        sum += server.weight as u64;
        draw <= sum
    })
}
