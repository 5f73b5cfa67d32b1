//! `3`, `1..4` (both included), `1,4,10`: numbers as people write them on a command line.

/// Most numbers that a range may hold.
const MOST: u64 = 100_000;

/// One number, or first and last of a range, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First number.
    pub first: u64,
    /// Last number, at least `first`.
    pub last: u64,
}

impl Range {
    /// All numbers of it.
    pub fn numbers(self) -> Vec<u64> {
        (self.first..=self.last).collect()
    }
}

/// Reads `7` or `1..4`.
pub fn range(text: &str) -> Result<Range, String> {
    let number = |text: &str| {
        text.trim().parse::<u64>().map_err(|_| format!("{text:?} is not a whole number; write 7 or 1..4"))
    };
    let (first, last) = match text.split_once("..") {
        Some((first, last)) => (number(first)?, number(last.trim_start_matches('='))?),
        None => (number(text)?, number(text)?),
    };
    if first > last {
        return Err(format!("{text} runs backwards; write {last}..{first}"));
    }
    if last - first >= MOST {
        return Err(format!("{text} holds more than {MOST} numbers"));
    }
    Ok(Range { first, last })
}

/// Reads `1,4,10`.
pub fn list(text: &str) -> Result<Vec<usize>, String> {
    text.split(',')
        .map(|part| match part.trim().parse::<usize>() {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(format!("{part:?} is not a number of steps; write 1,4,10")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn both_ends_are_included() {
        assert_eq!(range("1..4").unwrap().numbers(), [1, 2, 3, 4]);
        assert_eq!(range("7").unwrap().numbers(), [7]);
        assert_eq!(range("0..=1").unwrap().numbers(), [0, 1]);
    }

    #[test]
    fn nonsense_is_refused_with_an_example() {
        for bad in ["", "a", "1..", "..3", "4..1", "-1", "1.5", "0..99999999999"] {
            assert!(range(bad).is_err(), "{bad}");
        }
        assert!(list("1,0").is_err() && list("").is_err());
        assert_eq!(list("1, 4,10").unwrap(), [1, 4, 10]);
    }
}
