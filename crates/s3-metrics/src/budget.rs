//! What a training on ImageNet takes: core-hours, days and euros on CPU machines from the rate of a
//! core, hours on GPUs from published throughputs. A model, not a measurement.
//!
//! ```text
//! steps         = epochs · (1,281,167 + 50,000 / 3)     images; a test image is one of three
//!                                                       passes of a step
//! decoded       = epochs · (1,281,167 + 50,000)         images
//! core-seconds  = steps / (trained a second) + decoded / (decoded a second)
//! machine-hours = core-seconds / 3600 / (cores · efficiency)
//! days          = machine-hours / machines / 24
//! euros         = machine-hours · (euros an hour)
//! GPU-hours     = steps / (trained a second by a GPU) / 3600
//! ```
//!
//! ```
//! use s3_metrics::budget::{Budget, Price};
//! let machine = Price {
//!     what: "machine".to_owned(), name: "M".to_owned(), units: 4.0, price: 73.0,
//!     currency: "EUR".to_owned(), per: "month".to_owned(),
//!     source: "a page".to_owned(), date: "a day".to_owned(),
//! };
//! let budget = Budget { epochs: 3.0, efficiency: 0.5, decoded: None, prices: vec![machine] };
//! let machine = &budget.prices[0];
//! // An image an hour: core-hours are images.
//! let hours = budget.machine_hours(1.0 / 3600.0, machine);
//! assert!((hours - (3.0 * 1_281_167.0 + 50_000.0) / 2.0).abs() < 1e-6);
//! assert_eq!(budget.euros_an_hour(machine)?, 0.1);
//! # Ok::<(), s3_metrics::budget::NoPrice>(())
//! ```

use std::fmt;

/// Images of ILSVRC2012's training set.
pub const TRAIN: f64 = 1_281_167.0;
/// Images of its validation set, on which each epoch is tested.
pub const TEST: f64 = 50_000.0;
/// Hours of a month that is paid as one.
pub const MONTH: f64 = 730.0;
/// The side of the paper's images.
pub const SIDE: f64 = 224.0;

/// What something with so many cores or GPUs costs, or (`rate`) a euro in another currency.
#[derive(Clone, Debug, PartialEq)]
pub struct Price {
    /// `machine`, `gpu` or `rate`.
    pub what: String,
    /// Its name.
    pub name: String,
    /// Cores or GPUs.
    pub units: f64,
    /// In the currency.
    pub price: f64,
    /// `EUR` or one that has a rate.
    pub currency: String,
    /// `hour` or `month`.
    pub per: String,
    /// Who says so.
    pub source: String,
    /// When.
    pub date: String,
}

/// What so many GPUs train together.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpu {
    /// The network.
    pub network: String,
    /// The GPU's name.
    pub name: String,
    /// How many.
    pub gpus: f64,
    /// As published.
    pub images_per_s: f64,
    /// The side of the published images.
    pub side: f64,
    /// What was measured.
    pub what: String,
    /// Who says so.
    pub source: String,
    /// When.
    pub date: String,
}

impl Gpu {
    /// Images a second at the paper's size: work is taken as proportional to the pixels.
    pub fn rate(&self) -> f64 {
        self.images_per_s * (self.side / SIDE).powi(2)
    }
}

/// Why a price is not known in euros.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoPrice {
    /// A currency without a rate.
    Rate(String),
    /// Of a name: neither an hour's nor a month's, but this one's.
    Per(String, String),
    /// A GPU that is not listed.
    Gpu(String),
}

impl fmt::Display for NoPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rate(currency) => write!(f, "no rate of {currency}"),
            Self::Per(name, other) => write!(f, "{name}: expected hour or month, got `{other}`"),
            Self::Gpu(name) => write!(f, "no price of an {name}"),
        }
    }
}

impl std::error::Error for NoPrice {}

/// A training and what its machines cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// Epochs of a run.
    pub epochs: f64,
    /// The rate of many cores over that of one core times their number.
    pub efficiency: f64,
    /// Images a second that one core decodes, where decoding is counted.
    pub decoded: Option<f64>,
    /// What machines, GPUs and other currencies cost.
    pub prices: Vec<Price>,
}

impl Budget {
    /// Images of a run, in whole training steps.
    pub fn images(&self) -> f64 {
        self.epochs * (TRAIN + TEST / 3.0)
    }

    /// Of a core that trains so many images a second.
    pub fn core_hours(&self, rate: f64) -> f64 {
        let decoding = |decoded: f64| self.epochs * (TRAIN + TEST) / decoded;
        (self.images() / rate + self.decoded.map_or(0.0, decoding)) / 3600.0
    }

    /// Of a machine with such cores.
    pub fn machine_hours(&self, rate: f64, machine: &Price) -> f64 {
        self.core_hours(rate) / (machine.units * self.efficiency)
    }

    /// Of one such GPU.
    pub fn gpu_hours(&self, gpu: &Gpu) -> f64 {
        self.images() / (gpu.rate() / gpu.gpus) / 3600.0
    }

    /// What an hour costs.
    ///
    /// # Errors
    /// [`NoPrice`] of a currency without a rate, or another time than an hour or a month.
    pub fn euros_an_hour(&self, price: &Price) -> Result<f64, NoPrice> {
        let euros = match price.currency.as_str() {
            "EUR" => price.price,
            other => {
                let mut rates = self.prices.iter().filter(|p| p.what == "rate");
                let rate = rates.find(|p| p.currency == other);
                let rate = rate.ok_or_else(|| NoPrice::Rate(other.to_owned()))?;
                price.price / rate.price
            }
        };
        match price.per.as_str() {
            "hour" => Ok(euros),
            "month" => Ok(euros / MONTH),
            other => Err(NoPrice::Per(price.name.clone(), other.to_owned())),
        }
    }

    /// The machines that have a price.
    pub fn machines(&self) -> impl Iterator<Item = &Price> {
        self.prices.iter().filter(|p| p.what == "machine")
    }

    /// What an hour of one such GPU costs.
    ///
    /// # Errors
    /// As [`euros_an_hour`](Self::euros_an_hour), and of a GPU without a price.
    pub fn price_of(&self, gpu: &Gpu) -> Result<f64, NoPrice> {
        let is_it = |p: &&Price| p.what == "gpu" && p.name == gpu.name;
        let price = self.prices.iter().find(is_it);
        let price = price.ok_or_else(|| NoPrice::Gpu(gpu.name.clone()))?;
        Ok(self.euros_an_hour(price)? / price.units)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a / b - 1.0).abs() < 1e-12, "{a} is not {b}");
    }

    #[test]
    fn hours_and_euros_follow_from_the_rates() -> Result<(), NoPrice> {
        let price = |what: &str, name: &str, units, price, currency: &str, per: &str| Price {
            what: what.to_owned(),
            name: name.to_owned(),
            units,
            price,
            currency: currency.to_owned(),
            per: per.to_owned(),
            source: String::new(),
            date: String::new(),
        };
        let gpu = Gpu {
            network: "net".to_owned(),
            name: "G".to_owned(),
            gpus: 4.0,
            images_per_s: 16.0,
            side: 112.0,
            what: String::new(),
            source: String::new(),
            date: String::new(),
        };
        let mut budget = Budget {
            epochs: 3.0,
            efficiency: 0.5,
            decoded: None,
            prices: vec![
                price("machine", "M", 4.0, 73.0, "EUR", "month"),
                price("gpu", "G", 1.0, 3.0, "USD", "hour"),
                price("rate", "EUR", 1.0, 1.5, "USD", "EUR"),
                price("machine", "N", 4.0, 73.0, "CHF", "week"),
            ],
        };
        let images = 3.0 * 1_281_167.0 + 50_000.0;
        // An image an hour: core-hours are images.
        let rate = 1.0 / 3600.0;
        close(budget.core_hours(rate), images);
        close(budget.machine_hours(rate, &budget.prices[0]), images / 2.0);
        close(budget.euros_an_hour(&budget.prices[0])?, 0.1);
        // Half the side is a quarter of the work: 4 images/s at 224 of four GPUs, one of each.
        close(budget.gpu_hours(&gpu), images / 3600.0);
        close(budget.price_of(&gpu)?, 2.0);
        // Every image is decoded, the test images whole.
        budget.decoded = Some(rate);
        close(
            budget.core_hours(rate),
            images + 3.0 * (1_281_167.0 + 50_000.0),
        );
        let said = |price: &Price| budget.euros_an_hour(price).map_err(|e| e.to_string());
        assert_eq!(said(&budget.prices[3]), Err("no rate of CHF".to_owned()));
        let odd = "EUR: expected hour or month, got `EUR`".to_owned();
        assert_eq!(said(&budget.prices[2]), Err(odd));
        let other = Gpu {
            name: "H".to_owned(),
            ..gpu
        };
        assert_eq!(budget.price_of(&other), Err(NoPrice::Gpu("H".to_owned())));
        Ok(())
    }
}
