//! Which of several servers to believe: those whose times can be true together, if they are the majority
//! (the intersection of Marzullo's algorithm, RFC 5905, section 11.2.1, for at most a handful of them).

use super::discipline::Sample;

/// What two servers may differ by beyond what they admit, ns.
const TOLERANCE: i64 = 5_000_000;

/// Who is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    /// The answer's place.
    pub index: usize,
    /// How many servers agree with it, itself included.
    pub agreeing: usize,
}

/// The best answer of the majority of those who answered; `favourite`, who was chosen last time, as long as it is nearly as
/// good, because no two servers are off by the same.
#[must_use]
pub fn majority(answers: &[Sample], favourite: Option<usize>) -> Option<Chosen> {
    let bounds = |sample: &Sample| {
        let margin = margin(sample);
        (sample.ahead().saturating_sub(margin), sample.ahead().saturating_add(margin))
    };
    // The largest set of intervals with a common point has one at the start of one of them.
    let together = |point: i64| {
        let holds = move |(from, to): (i64, i64)| from <= point && point <= to;
        answers.iter().enumerate().filter(move |(_, sample)| holds(bounds(sample)))
    };
    let point = answers.iter().map(|sample| bounds(sample).0).max_by_key(|point| together(*point).count())?;
    let agreeing = together(point).count();
    if agreeing * 2 <= answers.len() {
        return None;
    }
    let (best, best_margin) = together(point).map(|(index, sample)| (index, margin(sample))).min_by_key(|it| it.1)?;
    let keeps = |index: &usize| together(point).any(|(it, sample)| it == *index && margin(sample) / 2 <= best_margin);
    Some(Chosen { index: favourite.filter(keeps).unwrap_or(best), agreeing })
}

fn margin(sample: &Sample) -> i64 {
    sample.distance.max(0).saturating_add(sample.delay.max(0) / 2).saturating_add(TOLERANCE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: i64 = 1_000_000;

    fn answer(time: i64, delay: i64) -> Sample {
        Sample { time: time * MS, delay: delay * MS, ..Sample::default() }
    }

    #[test]
    fn one_liar_is_outvoted() {
        let answers = [answer(1000, 30), answer(90_000, 1), answer(1002, 10), answer(995, 50)];
        assert_eq!(majority(&answers, None), Some(Chosen { index: 2, agreeing: 3 }));
    }

    #[test]
    fn two_that_contradict_each_other_are_both_not_believed() {
        assert_eq!(majority(&[answer(0, 10), answer(500, 10)], Some(0)), None);
        assert_eq!(majority(&[], None), None);
        assert_eq!(majority(&[answer(7, 1)], None), Some(Chosen { index: 0, agreeing: 1 }));
    }

    #[test]
    fn who_was_chosen_stays_unless_another_is_much_better() {
        let answers = [answer(0, 10), answer(1, 16)];
        assert_eq!(majority(&answers, Some(1)).map(|chosen| chosen.index), Some(1));
        let answers = [answer(0, 10), answer(1, 200)];
        assert_eq!(majority(&answers, Some(1)).map(|chosen| chosen.index), Some(0));
    }

    proptest! {
        #[test]
        fn who_is_chosen_is_there_and_in_the_majority(
            answers in prop::collection::vec((any::<i64>(), any::<i64>(), any::<i64>()), 0..5),
            favourite in prop::option::of(0usize..6),
        ) {
            let answers: Vec<Sample> = answers
                .into_iter()
                .map(|(time, delay, distance)| Sample { time, delay, distance, ..Sample::default() })
                .collect();
            if let Some(chosen) = majority(&answers, favourite) {
                prop_assert!(chosen.index < answers.len() && chosen.agreeing * 2 > answers.len());
            }
        }
    }
}
