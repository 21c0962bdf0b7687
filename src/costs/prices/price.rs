//! What a call costs at given prices: exact integers, no clock, no table.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::usage::{Usage, Usd};

/// Prices of one model, USD per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Input tokens that no cache is concerned with.
    pub input: Usd,
    /// Output tokens, reasoning included.
    pub output: Usd,
    /// Input tokens read from a cache; the input price when absent.
    pub cache_read: Option<Usd>,
    /// Input tokens written to a cache for five minutes; the input price when absent.
    pub cache_write: Option<Usd>,
    /// Input tokens written to a cache for one hour; like `cache_write` when absent.
    pub cache_write_1h: Option<Usd>,
}

/// Prices that apply to a whole request once its prompt is long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Prompt tokens, cached ones included, above which it applies.
    pub above_input_tokens: u64,
    /// Its prices; what the vendor's list leaves out was filled in from the base prices.
    pub rates: Rates,
}

/// Other prices at certain hours: lower ones at most vendors, but nothing says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffPeak {
    /// Its prices.
    pub rates: Rates,
    /// When it applies.
    pub windows: Vec<Window>,
}

/// Hours of certain weekdays, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The weekdays as bits: bit 1 is Monday, bit 7 Sunday.
    pub weekdays: u8,
    /// The first minute of the day.
    pub from_minute: u16,
    /// The first minute after it.
    pub to_minute: u16,
}

/// `Mon Tue 16:30-24:00`.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
        for (day, name) in (1..).zip(days) {
            if self.weekdays >> day & 1 == 1 {
                write!(f, "{name} ")?;
            }
        }
        let (from, to) = (self.from_minute, self.to_minute);
        let (from, to) = ((from / 60, from % 60), (to / 60, to % 60));
        write!(f, "{:02}:{:02}-{:02}:{:02}", from.0, from.1, to.0, to.1)
    }
}

/// Where a price comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PriceSource {
    /// `providers.*.prices` of the configuration.
    Config,
    /// The user's own price file.
    User,
    /// The table built into the program.
    BuiltIn,
}

impl PriceSource {
    /// As the ledger and `orch prices` name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::User => "user",
            Self::BuiltIn => "builtin",
        }
    }
}

/// Everything that decides what a call of one model costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// The prices of a short prompt at ordinary hours.
    pub base: Rates,
    /// Prices of longer prompts, by rising threshold.
    pub tiers: Vec<Tier>,
    /// Whether a tier begins at its threshold already (xAI), not only above it.
    pub tiers_include_threshold: bool,
    /// Prices at certain hours; never together with tiers.
    pub off_peak: Option<OffPeak>,
    /// Where it comes from.
    pub source: PriceSource,
    /// Which edition of that source; empty for the configuration.
    pub version: String,
}

impl Rates {
    /// What these tokens cost, rounded up to a picodollar; exact for prices of six decimals.
    pub fn cost(&self, usage: &Usage) -> Usd {
        let cache_read = usage.cache_read_tokens.min(usage.input_tokens);
        let cache_write = usage
            .cache_write_tokens
            .min(usage.input_tokens - cache_read);
        let one_hour = usage.cache_write_1h_tokens.min(cache_write);
        let plain = usage.input_tokens - cache_read - cache_write;
        let write_rate = self.cache_write.unwrap_or(self.input);
        per_million([
            (plain, self.input),
            (cache_read, self.cache_read.unwrap_or(self.input)),
            (cache_write - one_hour, write_rate),
            (one_hour, self.cache_write_1h.unwrap_or(write_rate)),
            (usage.output_tokens, self.output),
        ])
    }

    /// The dearest that an input token can be.
    fn dearest_input(&self, one_hour_cache: bool) -> Usd {
        let one_hour = self.cache_write_1h.filter(|_| one_hour_cache);
        [self.cache_read, self.cache_write, one_hour]
            .into_iter()
            .flatten()
            .fold(self.input, Usd::max)
    }
}

/// Turns that are priced one by one: more than any run needs, and few enough to be counted at once.
const TURNS_COUNTED: u64 = 1_000;

/// Sums in full precision, so that only the end is rounded.
fn per_million<const N: usize>(items: [(u64, Usd); N]) -> Usd {
    let millionths: i128 = items
        .into_iter()
        .map(|(tokens, rate)| i128::from(tokens) * i128::from(rate.pico()))
        .fold(0, i128::saturating_add);
    let pico = millionths.saturating_add(999_999).div_euclid(1_000_000);
    Usd::from_pico(i64::try_from(pico).unwrap_or(i64::MAX))
}

impl Price {
    /// What a finished call costs. Of one that began in hours with other prices and ended out of them, or the other
    /// way round, the dearer prices count: vendors do not say which, and the ledger must not say too little.
    pub fn cost(&self, usage: &Usage, began: SystemTime, ended: SystemTime) -> Usd {
        let at = |time| self.rates(usage.input_tokens, time).cost(usage);
        at(began).max(at(ended))
    }

    /// The most that a call can cost with this much input and output, at any hour.
    pub fn worst_case(&self, worst: WorstCase) -> Usd {
        self.reachable(worst.input_tokens)
            .map(|rates| {
                per_million([
                    (
                        worst.input_tokens,
                        rates.dearest_input(worst.one_hour_cache),
                    ),
                    (worst.output_tokens, rates.output),
                ])
            })
            .fold(Usd::ZERO, Usd::max)
    }

    /// The output tokens with which one reply costs at most `amount`, down to `least`, and what it costs
    /// with them, when its prompt has grown by so many tokens.
    pub fn reply_within(
        &self,
        mut worst: WorstCase,
        more_input_tokens: u64,
        least: u64,
        amount: Usd,
    ) -> (u64, Usd) {
        worst.input_tokens = worst.input_tokens.saturating_add(more_input_tokens);
        let affordable = self.affordable_output(amount, worst).unwrap_or(u64::MAX);
        worst.output_tokens = worst.output_tokens.min(affordable.max(least));
        (worst.output_tokens, self.worst_case(worst))
    }

    /// The most that so many turns can cost, of which the first is the smallest. Turns of which the prompt still grows
    /// are counted one by one up to a thousand; those behind them as if each had the prompt of the last.
    pub fn worst_turns(&self, first: WorstCase, turns: u64, growth: Growth) -> Usd {
        let turn = |turn: u64| {
            let input_tokens = first
                .input_tokens
                .saturating_add(growth.input_tokens.saturating_mul(turn));
            self.worst_case(WorstCase {
                input_tokens: input_tokens.min(growth.window.max(first.input_tokens)),
                ..first
            })
        };
        let counted = turns.min(TURNS_COUNTED);
        let rest = turns - counted;
        let behind = if rest == 0 {
            Usd::ZERO
        } else {
            turn(turns - 1).times(rest)
        };
        (0..counted).map(turn).sum::<Usd>() + behind
    }

    /// How many output tokens `amount` pays for beside the input of `worst`; `None` for any number.
    pub fn affordable_output(&self, amount: Usd, worst: WorstCase) -> Option<u64> {
        self.reachable(worst.input_tokens)
            .filter(|rates| rates.output > Usd::ZERO)
            .map(|rates| {
                let input = per_million([(
                    worst.input_tokens,
                    rates.dearest_input(worst.one_hour_cache),
                )]);
                let left = i128::from((amount - input).at_least_zero().pico());
                let tokens = left * 1_000_000 / i128::from(rates.output.pico());
                u64::try_from(tokens).unwrap_or(u64::MAX)
            })
            .min()
    }

    /// The prices that may apply to a prompt of at most this size, at any hour.
    fn reachable(&self, input_tokens: u64) -> impl Iterator<Item = Rates> {
        let tiers = self.tiers.iter();
        let tiers = tiers.filter(move |tier| self.reaches(tier, input_tokens));
        let hours = self.off_peak.iter().map(|off_peak| off_peak.rates);
        std::iter::once(self.base)
            .chain(tiers.map(|tier| tier.rates))
            .chain(hours)
    }

    fn rates(&self, input_tokens: u64, time: SystemTime) -> Rates {
        let tier = self
            .tiers
            .iter()
            .rfind(|tier| self.reaches(tier, input_tokens));
        if let Some(tier) = tier {
            return tier.rates;
        }
        match &self.off_peak {
            Some(off_peak) if off_peak.covers(time) => off_peak.rates,
            _ => self.base,
        }
    }

    fn reaches(&self, tier: &Tier, input_tokens: u64) -> bool {
        input_tokens > tier.above_input_tokens
            || (self.tiers_include_threshold && input_tokens == tier.above_input_tokens)
    }
}

/// The largest that a call can get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorstCase {
    /// Prompt tokens.
    pub input_tokens: u64,
    /// Output tokens, reasoning included.
    pub output_tokens: u64,
    /// Whether the prompt is written to a cache for one hour.
    pub one_hour_cache: bool,
}

/// How the prompt of a conversation grows from turn to turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// Prompt tokens that a turn adds to those of the next.
    pub input_tokens: u64,
    /// More prompt tokens than this no call can have.
    pub window: u64,
}

impl OffPeak {
    fn covers(&self, time: SystemTime) -> bool {
        let seconds = time
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        // 1 January 1970 was a Thursday.
        let weekday = (seconds / 86_400 + 3) % 7 + 1;
        let minute = seconds % 86_400 / 60;
        self.windows.iter().any(|window| {
            window.weekdays >> weekday & 1 == 1
                && (u64::from(window.from_minute)..u64::from(window.to_minute)).contains(&minute)
        })
    }
}
