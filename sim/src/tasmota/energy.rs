//! The energy meter of a pretend plug: a load that wanders around a wattage given by its seed.

use super::clock::SECONDS_PER_DAY;
use std::fmt;
use std::time::Duration;

/// Integrates the power of a load over the time it was switched on.
#[derive(Debug)]
pub(super) struct Meter {
    random: u64,
    /// Around which the load wanders, 5 to 205 W.
    base_watts: f64,
    watts: f64,
    volts: f64,
    /// Share of real in apparent power.
    factor: f64,
    total: f64,
    today: f64,
    yesterday: f64,
    /// Since the last telemetry, in Wh.
    period: f64,
    at: Duration,
    day: u64,
}

impl Meter {
    /// A meter at `at`, on a day counted from 1970. Equal seeds give equal rows of values.
    pub(super) fn new(seed: u64, at: Duration, day: u64) -> Self {
        let mut meter = Meter {
            random: seed,
            base_watts: 0.0,
            watts: 0.0,
            volts: 230.0,
            factor: 1.0,
            total: 0.0,
            today: 0.0,
            yesterday: 0.0,
            period: 0.0,
            at,
            day,
        };
        meter.base_watts = 5.0 + 200.0 * meter.share();
        meter.factor = 0.6 + 0.4 * meter.share();
        meter.total = 50.0 * meter.share();
        meter.yesterday = meter.base_watts * 24.0 / 1000.0 * meter.share();
        meter
    }

    /// Counts the time since the last call, with the relay as it was, and draws a new load.
    pub(super) fn advance(&mut self, now: Duration, unix_seconds: u64, relay_on: bool) {
        let hours = now.saturating_sub(self.at).as_secs_f64() / 3600.0;
        self.at = now;
        let watt_hours = self.watts * hours;
        self.total += watt_hours / 1000.0;
        self.today += watt_hours / 1000.0;
        self.period += watt_hours;
        let day = unix_seconds / SECONDS_PER_DAY;
        if day != self.day {
            self.day = day;
            self.yesterday = std::mem::take(&mut self.today);
        }
        self.volts = 226.0 + 8.0 * self.share();
        self.watts = if relay_on {
            self.base_watts * (0.9 + 0.2 * self.share())
        } else {
            0.0
        };
    }

    /// Begins a new period of telemetry.
    pub(super) fn end_period(&mut self) {
        self.period = 0.0;
    }

    /// The `ENERGY` object. `Period` is only part of telemetry, not of a query.
    pub(super) fn json(&self, start: &impl fmt::Display, with_period: bool) -> String {
        let apparent = self.watts / self.factor;
        let reactive = (apparent * apparent - self.watts * self.watts).sqrt();
        let factor = if self.watts > 0.0 { self.factor } else { 0.0 };
        let period = if with_period {
            format!(",\"Period\":{:.0}", self.period)
        } else {
            String::new()
        };
        format!(
            "{{\"TotalStartTime\":\"{start}\",\"Total\":{:.3},\"Yesterday\":{:.3},\
             \"Today\":{:.3}{period},\"Power\":{:.0},\"ApparentPower\":{apparent:.0},\
             \"ReactivePower\":{reactive:.0},\"Factor\":{factor:.2},\"Voltage\":{:.0},\
             \"Current\":{:.3}}}",
            self.total,
            self.yesterday,
            self.today,
            self.watts,
            self.volts,
            apparent / self.volts,
        )
    }

    /// The next value of the row, from 0 up to 1 (splitmix64).
    fn share(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn read(meter: &Meter) -> Value {
        serde_json::from_str(&meter.json(&"2026-01-01T00:00:00", true)).expect("valid JSON")
    }

    #[test]
    fn energy_grows_while_the_relay_is_on_and_stands_still_while_it_is_off() {
        let mut meter = Meter::new(7, Duration::ZERO, 0);
        let hour = Duration::from_secs(3600);
        meter.advance(Duration::ZERO, 0, true);
        meter.advance(hour, 3600, false);
        let used = read(&meter);
        let today = used["Today"].as_f64().expect("a number");
        let base = meter.base_watts / 1000.0;
        assert!(
            (0.9 * base - 0.001..=1.1 * base + 0.001).contains(&today),
            "{used}"
        );
        assert_eq!(used["Power"], 0);
        assert_eq!(used["Current"].as_f64(), Some(0.0));

        meter.advance(hour * 2, 7200, false);
        assert_eq!(read(&meter)["Today"].as_f64(), Some(today));
        assert!(used["Period"].as_f64() > Some(0.0));
        meter.end_period();
        assert_eq!(read(&meter)["Period"], 0);
    }

    #[test]
    fn midnight_moves_today_to_yesterday() {
        let mut meter = Meter::new(7, Duration::ZERO, 0);
        meter.advance(Duration::ZERO, 0, true);
        meter.advance(Duration::from_secs(3600), 3600, true);
        let today = read(&meter)["Today"].clone();
        meter.advance(Duration::from_secs(3600), SECONDS_PER_DAY, true);
        assert_eq!(read(&meter)["Yesterday"], today);
        assert_eq!(read(&meter)["Today"].as_f64(), Some(0.0));
    }

    #[test]
    fn equal_seeds_repeat_and_others_differ() {
        let row = |seed| {
            let mut meter = Meter::new(seed, Duration::ZERO, 0);
            meter.advance(Duration::ZERO, 0, true);
            meter.json(&"", false)
        };
        assert_eq!(row(1), row(1));
        assert_ne!(row(1), row(2));
    }
}
