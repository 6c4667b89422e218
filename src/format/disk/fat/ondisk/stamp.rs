//! Dates and times.
//!
//! ```text
//! date: year - 1980 (7 bits) month (4) day (5)        time: hours (5) minutes (6) seconds / 2 (5)
//! ```

/// 1980-01-01, the first date that FAT has, in seconds since 1970.
const FLOOR: u32 = 315_532_800;
const DAY: u32 = 86_400;
/// Days from 0000-03-01 to 1970-01-01 in the calendar that begins a year with March.
const TO_MARCH_0: u32 = 719_468;

/// A date and a time as they are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Year since 1980, month and day, as the head of the file shows them.
    pub date: u16,
    /// The time, in steps of two seconds.
    pub time: u16,
}

impl Stamp {
    /// The stamp of a time in seconds since 1970; what is before 1980 becomes 1980-01-01.
    pub fn from_unix(seconds: u32) -> Self {
        let seconds = seconds.max(FLOOR);
        let (year, month, day) = civil(seconds / DAY);
        let second = seconds % DAY;
        let date = ((year - 1980) << 9) | (month << 5) | day;
        let (hour, minute) = (second / 3600, second / 60 % 60);
        let time = (hour << 11) | (minute << 5) | (second % 60 / 2);
        Self { date: low16(date), time: low16(time) }
    }

    /// Seconds since 1970, 0 when it is no date.
    pub fn to_unix(self) -> u32 {
        let (date, time) = (u32::from(self.date), u32::from(self.time));
        let (year, month, day) = (1980 + (date >> 9), (date >> 5) & 15, date & 31);
        let (hour, minute, second) = (time >> 11, (time >> 5) & 63, (time & 31) * 2);
        if !(1..=12).contains(&month) || day == 0 || hour > 23 || minute > 59 || second > 59 {
            return 0;
        }
        let days = days(year, month, day);
        days.checked_mul(DAY)
            .and_then(|start| start.checked_add(hour * 3600 + minute * 60 + second))
            .unwrap_or(0)
    }
}

/// Year, month and day of a day since 1970 (the algorithm is Howard Hinnant's `civil_from_days`).
const fn civil(days: u32) -> (u32, u32, u32) {
    let days = days + TO_MARCH_0;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let january = if month <= 2 { 1 } else { 0 };
    (year_of_era + era * 400 + january, month, day)
}

/// The day since 1970 of a date from 1980 on.
const fn days(year: u32, month: u32, day: u32) -> u32 {
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + of_year - TO_MARCH_0
}

/// The low 16 bits: no year a `u32` of seconds can reach needs more.
const fn low16(value: u32) -> u16 {
    let [low, high, ..] = value.to_le_bytes();
    u16::from_le_bytes([low, high])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    #[test]
    fn stamps_are_those_of_other_tools() {
        // `date -u -d @N`, and the fields by hand.
        for (unix, date, time) in [
            (0, 0x0021, 0),
            (1, 0x0021, 0),
            (315_532_800, 0x0021, 0),
            (946_684_800, (20 << 9) | (1 << 5) | 1, 0),
            (951_827_697, (20 << 9) | (2 << 5) | 29, (12 << 11) | (34 << 5) | 28),
            (u32::MAX, (126 << 9) | (2 << 5) | 7, (6 << 11) | (28 << 5) | 7),
        ] {
            assert_eq!(Stamp::from_unix(unix), Stamp { date, time }, "{unix}");
        }
        assert_eq!(Stamp { date: 0, time: 0 }.to_unix(), 0);
        assert_eq!(Stamp { date: u16::MAX, time: u16::MAX }.to_unix(), 0);
    }

    proptest! {
        #[test]
        fn a_stamp_reads_back_to_two_seconds(unix in FLOOR..u32::MAX) {
            prop_assert_eq!(Stamp::from_unix(unix).to_unix(), unix / 2 * 2);
        }

        #[test]
        fn no_stamp_panics(date in any::<u16>(), time in any::<u16>()) {
            Stamp { date, time }.to_unix();
        }
    }
}
