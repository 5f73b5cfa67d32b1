//! Rows of one set of channels as rows of another: by name and unit, never by position.

use forerun_models::Channel;

use crate::failure::Failure;

/// Where each wanted channel stands in a given row.
#[derive(Clone, Debug, PartialEq)]
pub struct Columns {
    from: Vec<usize>,
    width: usize,
}

impl Columns {
    /// Finds the wanted channels among the given ones. Units may differ only where one side does not know its own.
    ///
    /// # Errors
    /// Channels that are missing or in another unit, all of them named; `what` says of what (`actions`).
    pub fn find(what: &str, wanted: &[Channel], given: &[Channel]) -> Result<Self, Failure> {
        let mut from = Vec::with_capacity(wanted.len());
        let mut wrong = Vec::new();
        for channel in wanted {
            match given.iter().position(|g| g.name == channel.name) {
                None => wrong.push(format!("{} is missing", channel.name)),
                Some(at) => {
                    let unit = given.get(at).map_or("", |g| g.unit.as_str());
                    if unit != channel.unit && !unit.is_empty() && !channel.unit.is_empty() {
                        wrong.push(format!("{} is in {unit}, not in {}", channel.name, channel.unit));
                    }
                    from.push(at);
                }
            }
        }
        if wrong.is_empty() {
            return Ok(Self { from, width: given.len() });
        }
        Err(Failure::new(
            format!("The {what} do not fit together: {}.", wrong.join("; ")),
            "Choose a policy, a model and a place of the same robot.",
        ))
    }

    /// The wanted row out of a given one; a number that is not there is not a number.
    pub fn take(&self, given: &[f32]) -> Vec<f32> {
        self.from.iter().map(|at| given.get(*at).copied().unwrap_or(f32::NAN)).collect()
    }

    /// A given row with the wanted one's numbers in their places, the others not a number.
    pub fn put(&self, wanted: &[f32]) -> Vec<f32> {
        let mut out = vec![f32::NAN; self.width];
        for (at, value) in self.from.iter().zip(wanted) {
            if let Some(slot) = out.get_mut(*at) {
                *slot = *value;
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use forerun_models::ChannelMode;

    fn channel(name: &str, unit: &str) -> Channel {
        let (name, unit) = (name.to_owned(), unit.to_owned());
        Channel { name, unit, min: 0.0, max: 1.0, mode: ChannelMode::Absolute, mean: 0.0, std: 1.0 }
    }

    #[test]
    fn rows_are_sorted_by_name() {
        let wanted = [channel("b", "deg"), channel("a", "")];
        let given = [channel("a", "mm"), channel("x", ""), channel("b", "deg")];
        let columns = Columns::find("actions", &wanted, &given).unwrap();
        assert_eq!(columns.take(&[1.0, 2.0, 3.0]), [3.0, 1.0]);
        let put = columns.put(&[7.0, 8.0]);
        assert_eq!((put[0], put[2]), (8.0, 7.0));
        assert!(put[1].is_nan());
    }

    #[test]
    fn what_is_missing_or_of_another_unit_is_named() {
        let given = [channel("a", "deg")];
        let told = |wanted: &[Channel]| Columns::find("actions", wanted, &given).unwrap_err().text();
        assert!(told(&[channel("a", "rad")]).contains("a is in deg, not in rad"));
        assert!(told(&[channel("c", "deg"), channel("d", "")]).contains("c is missing; d is missing"));
    }
}
