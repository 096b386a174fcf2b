//! Work on all processors whose results come in the order of what they were made from.

use std::num::NonZero;
use std::sync::mpsc::sync_channel;
use std::{io, thread};

/// Pieces that wait before and behind each processor: enough that none idles while another finishes its piece.
const WAITING: usize = 4;

/// Gives each item of `source` to `work`, on as many threads as there are processors, and what comes of them to `sink`,
/// in the items' order. At most a few items for each processor are in memory.
///
/// # Errors
/// The first that `source`, `work` or `sink` answers.
pub(super) fn ordered<T: Send, U: Send>(
    source: impl Iterator<Item = io::Result<T>> + Send,
    work: impl Fn(T) -> io::Result<U> + Sync,
    mut sink: impl FnMut(U) -> io::Result<()>,
) -> io::Result<()> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let work = &work;
    thread::scope(|scope| {
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for _ in 0..processors {
            let (input, items) = sync_channel::<io::Result<T>>(WAITING);
            let (results, output) = sync_channel(WAITING);
            inputs.push(input);
            outputs.push(output);
            scope.spawn(move || {
                // Whoever waits for results went away with an error if it takes no more.
                for item in items {
                    if results.send(item.and_then(work)).is_err() {
                        return;
                    }
                }
            });
        }
        // In turn: the order of processors is the order of items.
        scope.spawn(move || {
            for (item, input) in source.zip(inputs.iter().cycle()) {
                if input.send(item).is_err() {
                    return;
                }
            }
        });
        for output in outputs.iter().cycle() {
            match output.recv() {
                Ok(result) => sink(result?)?,
                // Nothing more for this processor, and so for none behind it.
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order() {
        let mut seen = Vec::new();
        let uneven = |number: u64| {
            thread::sleep(std::time::Duration::from_micros(number * 7 % 500));
            Ok(number * 2)
        };
        let sink = |number| {
            seen.push(number);
            Ok(())
        };
        ordered((0..500).map(Ok), uneven, sink).unwrap();
        assert_eq!(seen, (0..500).map(|number| number * 2).collect::<Vec<u64>>());
    }

    #[test]
    fn an_error_anywhere_ends_it() {
        let endless = || (0_u64..).map(Ok);
        let broken = |at: u64| move |number| if number == at { Err(io::Error::other("broken")) } else { Ok(number) };
        let failed = ordered(endless(), broken(1000), |_| Ok(())).unwrap_err();
        assert_eq!(failed.to_string(), "broken");
        let failed = ordered(endless(), Ok, |number| broken(10)(number).map(drop)).unwrap_err();
        assert_eq!(failed.to_string(), "broken");
        let failed = ordered((0_u64..).map(broken(100)), Ok, |_| Ok(())).unwrap_err();
        assert_eq!(failed.to_string(), "broken");
    }
}
