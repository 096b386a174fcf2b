//! How much Linux gives a program in its arguments and its environment (execve(2), "Limits on the size of arguments and
//! environment"): more than that is refused where an image is built, since no machine could start it.

use crate::environment;
use crate::limits::Limits;
use std::fmt;

/// One argument or variable in bytes, with the NUL byte at its end: MAX_ARG_STRLEN, 32 pages of 4 KiB.
const LONGEST: usize = 32 * 4096;
/// All of them may have a quarter of the stack's limit, but that is held between ARG_MAX and three quarters of 8 MiB
/// (fs/exec.c, `bprm_stack_limits`).
const LEAST: u64 = 131_072;
const MOST: u64 = 6 << 20;
/// The stack's limit where nobody sets one (_STK_LIM).
const STACK: u64 = 8 << 20;
/// Beside each string, its pointer.
const POINTER: u64 = 8;
/// What is kept for the variables that init adds, the program's path, and the interpreter of a script with its argument.
const RESERVE: u64 = 16 << 10;

/// Something that is too long for Linux. It quotes no value, as these may be secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Excess {
    /// One argument: its number, where the program itself is 0, and its bytes.
    Argument(usize, usize),
    /// One variable: its name, and its bytes with the name.
    Variable(String, usize),
    /// All together: how many bytes, and the most that there may be.
    Total(u64, u64),
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = LONGEST - 1;
        match self {
            Excess::Argument(number, bytes) => {
                write!(f, "argument {number} of the program has {bytes} bytes, and Linux takes {most} at most in one")
            }
            Excess::Variable(name, bytes) => {
                write!(f, "the variable {name} has {bytes} bytes with its name, and Linux takes {most} at most in one")
            }
            Excess::Total(bytes, most) => write!(
                f,
                "the program's arguments and environment have {bytes} bytes, and Linux takes {most} at most, by the \
                 limit of the stack"
            ),
        }
    }
}

impl std::error::Error for Excess {}

/// Checks what a program is to be started with, under an image's limits.
///
/// # Errors
/// The first thing that is too long.
pub fn check(argv: &[String], env: &[String], limits: &Limits) -> Result<(), Excess> {
    let is_long = |text: &&String| text.len() >= LONGEST;
    if let Some((number, argument)) = argv.iter().enumerate().find(|(_, argument)| is_long(argument)) {
        return Err(Excess::Argument(number, argument.len()));
    }
    if let Some(entry) = env.iter().find(is_long) {
        // A name alone may be as long.
        let name: String = environment::key(entry).unwrap_or_default().chars().take(64).collect();
        return Err(Excess::Variable(name, entry.len()));
    }
    let bytes = argv.iter().chain(env).map(|text| text.len() as u64 + 1 + POINTER).sum();
    let most = (limits.soft("stack").unwrap_or(STACK) / 4).clamp(LEAST, MOST) - RESERVE;
    if bytes > most { Err(Excess::Total(bytes, most)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limit;
    use std::process::Command;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn one_string_has_its_own_bound_which_is_the_kernels() {
        let program = texts(&["/bin/true"]);
        for (bytes, fits) in [(LONGEST - 1, true), (LONGEST, false)] {
            let long = "x".repeat(bytes);
            let value = &long[..bytes - 2];
            let argument = [program.clone(), vec![long.clone()]].concat();
            let limits = Limits::default();
            assert_eq!(check(&argument, &[], &limits).is_ok(), fits);
            assert_eq!(check(&program, &[format!("A={value}")], &limits).is_ok(), fits);
            assert_eq!(Command::new("/bin/true").arg(&long).status().is_ok(), fits);
            assert_eq!(Command::new("/bin/true").env("A", value).status().is_ok(), fits);
        }
        let refused = check(&program, &[format!("SECRET={}", "x".repeat(140_000))], &Limits::default()).unwrap_err();
        let said = "the variable SECRET has 140007 bytes with its name, and Linux takes 131071 at most in one";
        assert_eq!(refused.to_string(), said);
    }

    #[test]
    fn all_of_them_have_a_quarter_of_the_stack() {
        let program = texts(&["/bin/true"]);
        let many = |count: usize| (0..count).map(|number| format!("A{number:03}={}", "x".repeat(99_994))).collect();
        let fits = |count, stack: Option<u64>| {
            let mut limits = Limits::default();
            if let Some(soft) = stack {
                limits.set(("stack".to_owned(), Limit { soft, hard: soft }));
            }
            let env: Vec<String> = many(count);
            check(&program, &env, &limits)
        };
        // By default, with the least stack and with the largest.
        assert_eq!((fits(20, None), fits(21, None)), (Ok(()), Err(Excess::Total(2_100_186, 2_080_768))));
        assert_eq!((fits(1, Some(4096)).is_ok(), fits(2, Some(4096)).is_ok()), (true, false));
        assert_eq!((fits(62, Some(u64::MAX)).is_ok(), fits(63, Some(u64::MAX)).is_ok()), (true, false));
    }
}
