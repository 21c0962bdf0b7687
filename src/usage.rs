//! What a model call consumed, and what that costs: tokens and exact money.

use std::fmt;
use std::future::poll_fn;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Tokens of one or more model calls, normalised over vendors.
///
/// Vendors count differently; providers convert to this one meaning: `input_tokens` holds every
/// prompt token, those read from or written to a cache included, and `output_tokens` every
/// generated token, reasoning included. The other fields tell parts of these two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// All prompt tokens, cached ones included.
    pub input_tokens: u64,
    /// All generated tokens, reasoning included.
    pub output_tokens: u64,
    /// The part of the input that was read from a prompt cache.
    pub cache_read_tokens: u64,
    /// The part of the input that was written to a prompt cache, whatever its lifetime.
    pub cache_write_tokens: u64,
    /// The part of `cache_write_tokens` that was written with a lifetime of one hour.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_1h_tokens: u64,
    /// The part of the output that was reasoning.
    pub reasoning_tokens: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde's skip_serializing_if wants this form"
)]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl Usage {
    /// Input and output together.
    pub fn total_tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// Whether nothing was counted at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cache_read_tokens = self
            .cache_read_tokens
            .saturating_add(other.cache_read_tokens);
        self.cache_write_tokens = self
            .cache_write_tokens
            .saturating_add(other.cache_write_tokens);
        self.cache_write_1h_tokens = self
            .cache_write_1h_tokens
            .saturating_add(other.cache_write_1h_tokens);
        self.reasoning_tokens = self.reasoning_tokens.saturating_add(other.reasoning_tokens);
    }
}

/// Money in picodollars (10⁻¹² USD): a price per million tokens with six decimals is exact per token.
///
/// Sums saturate at about 9.2 million dollars, far above any budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(i64);

impl Usd {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount; used as "no limit".
    pub const MAX: Self = Self(i64::MAX);
    const PER_DOLLAR: i64 = 1_000_000_000_000;

    /// From picodollars.
    pub const fn from_pico(pico: i64) -> Self {
        Self(pico)
    }

    /// In picodollars.
    pub const fn pico(self) -> i64 {
        self.0
    }

    /// The amount so many times; the largest amount there is where it would be more.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self(
            self.0
                .saturating_mul(i64::try_from(count).unwrap_or(i64::MAX)),
        )
    }

    /// The part of this amount above zero.
    #[must_use]
    pub fn at_least_zero(self) -> Self {
        Self(self.0.max(0))
    }

    /// One of so many equal parts, rounded down to a picodollar.
    #[must_use]
    pub fn part(self, of: u32) -> Self {
        Self(self.0 / i64::from(of.max(1)))
    }

    /// This amount times a fraction such as 0.8, rounded down to a picodollar.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "a warning threshold, not a charge"
    )]
    pub fn fraction(self, fraction: f64) -> Self {
        Self((self.0 as f64 * fraction) as i64)
    }
}

impl Add for Usd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Usd {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl AddAssign for Usd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

/// A decimal string with at least six decimals and as many as are needed: `0.001234`.
impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let pico = self.0.unsigned_abs();
        let per_dollar = Self::PER_DOLLAR.unsigned_abs();
        let digits = format!("{:012}", pico % per_dollar);
        let trimmed = digits.trim_end_matches('0');
        let decimals = digits.get(..trimmed.len().max(6)).unwrap_or(&digits);
        write!(f, "{sign}{}.{decimals}", pico / per_dollar)
    }
}

/// What is wrong with a text that should be an amount of money.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an amount in US dollars such as 0.50")]
pub struct ParseUsdError(String);

/// Plain decimals only, at most twelve of them after the point.
impl FromStr for Usd {
    type Err = ParseUsdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseUsdError(text.to_owned());
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('$').unwrap_or(text)),
        };
        let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
        let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && decimals.is_empty())
            || !is_number(whole)
            || !is_number(decimals)
            || decimals.len() > 12
        {
            return Err(wrong());
        }
        let whole: i64 = if whole.is_empty() {
            0
        } else {
            whole.parse().map_err(|_| wrong())?
        };
        let decimals: i64 = format!("{decimals:0<12}").parse().map_err(|_| wrong())?;
        let pico = whole
            .checked_mul(Self::PER_DOLLAR)
            .and_then(|pico| pico.checked_add(decimals))
            .ok_or_else(wrong)?;
        Ok(Self(if negative { -pico } else { pico }))
    }
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// From a decimal string or a number; a number passes through its shortest decimal form.
impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Usd;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an amount in US dollars")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Usd, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Usd, E> {
                number.to_string().parse().map_err(E::custom)
            }
            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Usd, E> {
                number.to_string().parse().map_err(E::custom)
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Usd, E> {
                number.to_string().parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Where the cost of a call comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CostSource {
    /// From token counts that the vendor told and the price table.
    #[default]
    Computed,
    /// Told by the vendor.
    Reported,
    /// From our own estimate of the tokens.
    Estimated,
    /// Covered by a subscription login; nothing is charged.
    Subscription,
    /// No price is known for the model.
    Unpriced,
}

/// What an attempt has received so far, readable from outside while it runs: a provider writes it, the
/// ledger reads it when the attempt is dropped in the middle.
#[derive(Debug, Default)]
pub struct Meter(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    reading: Reading,
    /// The model that answers, as the vendor calls it.
    model: Option<String>,
    /// A subscription pays.
    subscription: bool,
    /// Who waits for the first byte.
    waiting: Option<Waker>,
}

/// A reading of a [`Meter`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Whether a byte of an answer came.
    pub answered: bool,
    /// Bytes of text, reasoning and tool calls so far.
    pub output_bytes: u64,
    /// The last usage that the vendor told.
    pub reported: Option<Usage>,
    /// The last cost that the vendor told.
    pub reported_cost: Option<Usd>,
}

impl Meter {
    /// A byte of an answer came, whatever it says.
    pub fn answered(&self) {
        self.update(|reading| reading.answered = true);
    }

    /// Text, reasoning or a piece of a tool call came.
    pub fn received(&self, bytes: usize) {
        self.update(|reading| {
            reading.answered = true;
            reading.output_bytes = reading.output_bytes.saturating_add(bytes as u64);
        });
    }

    /// The vendor told tokens; the last told replaces what was told before.
    pub fn reported(&self, usage: Usage) {
        self.update(|reading| {
            reading.answered = true;
            reading.reported = Some(usage);
        });
    }

    /// The vendor told a cost; the last told replaces what was told before.
    pub fn reported_cost(&self, cost: Usd) {
        self.update(|reading| {
            reading.answered = true;
            reading.reported_cost = Some(cost);
        });
    }

    /// The vendor told which model answers.
    pub fn answers(&self, model: &str) {
        let mut inner = self.inner();
        if inner.model.as_deref() != Some(model) {
            inner.model = Some(model.to_owned());
        }
    }

    /// The model that answers, as the vendor calls it, where it told.
    pub fn model(&self) -> Option<String> {
        self.inner().model.clone()
    }

    /// It turned out that a subscription pays.
    pub fn subscription(&self) {
        self.inner().subscription = true;
    }

    /// Whether it turned out that a subscription pays.
    pub fn is_on_subscription(&self) -> bool {
        self.inner().subscription
    }

    /// What was received by now.
    pub fn reading(&self) -> Reading {
        self.inner().reading
    }

    /// Waits for the first byte of an answer. Only one may wait at a time.
    pub async fn first_answer(&self) {
        poll_fn(|context| {
            let mut inner = self.inner();
            if inner.reading.answered {
                return Poll::Ready(());
            }
            inner.waiting = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn update(&self, change: impl FnOnce(&mut Reading)) {
        let mut inner = self.inner();
        change(&mut inner.reading);
        if let Some(waker) = inner.waiting.take() {
            waker.wake();
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_written_and_read_back_exactly() {
        for (pico, text) in [
            (0, "0.000000"),
            (1, "0.000000000001"),
            (1_234_000_000, "0.001234"),
            (1_234_500_000, "0.0012345"),
            (1_000_000_000_000, "1.000000"),
            (-2_500_000_000_000, "-2.500000"),
            (i64::MAX, "9223372.036854775807"),
        ] {
            assert_eq!(Usd::from_pico(pico).to_string(), text);
            assert_eq!(text.parse::<Usd>(), Ok(Usd::from_pico(pico)));
        }
        for text in [
            "",
            ".",
            "1e3",
            "1,5",
            "one",
            "0.0000000000001",
            "99999999999",
            "--1",
            "+1",
        ] {
            assert!(text.parse::<Usd>().is_err(), "{text}");
        }
    }
}
