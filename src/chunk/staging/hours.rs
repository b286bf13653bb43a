//! The hours of the day in which delayed blocks may be stored.

/// From the beginning of one hour to the beginning of another, which may be on the next day. Local time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadHours {
    from: u8,
    until: u8,
}

impl UploadHours {
    /// `1,5` or `1-5`.
    ///
    /// # Errors
    /// A sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no pair of hours: write it as 1,5 or 22-6");
        let (from, until) = text.split_once([',', '-']).ok_or_else(wrong)?;
        let hour = |text: &str| text.trim().parse::<u8>().ok().filter(|hour| *hour <= 24).ok_or_else(wrong);
        Ok(Self { from: hour(from)?, until: hour(until)? })
    }

    /// Whether `hour` of the day (0 to 23) is one of them; the same hour twice is all day.
    #[must_use]
    pub fn contain(self, hour: u8) -> bool {
        let Self { from, until } = self;
        match from.cmp(&until) {
            std::cmp::Ordering::Equal => true,
            std::cmp::Ordering::Less => (from..until).contains(&hour),
            std::cmp::Ordering::Greater => hour >= from || hour < until,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_night_goes_over_midnight() {
        let hours = |text: &str| {
            let hours = UploadHours::parse(text).expect(text);
            (0..24).filter(|hour| hours.contain(*hour)).collect::<Vec<_>>()
        };
        assert_eq!(hours("1,5"), [1, 2, 3, 4]);
        assert_eq!(hours("22-2"), [0, 1, 22, 23]);
        assert_eq!(hours("20,24"), [20, 21, 22, 23]);
        assert_eq!(hours("3,3").len(), 24);
        for wrong in ["", "x", "3", "25,3", "1,2,3", "-1,4"] {
            assert!(UploadHours::parse(wrong).is_err(), "{wrong}");
        }
    }
}
