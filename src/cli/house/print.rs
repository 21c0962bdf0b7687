//! What is generated: the manual, schemas, prices.

use std::path::Path;

use clap::CommandFactory;
use serde_json::json;

use crate::cli::args::{Cli, SchemaForm};
use crate::cli::{Call, lists, load};
use crate::config;
use crate::costs::prices::{Asked, OffPeak, Window};
use crate::costs::{self, Prices, Pricing};
use crate::error::{ErrorClass, OrchError};
use crate::orchestrator::{PRICE_FILE, nearest};
use crate::providers;
use crate::tools;

/// The manual page of the program, or of one of its commands.
pub(in crate::cli) fn man(call: &Call, command: Option<&str>) -> Result<u8, OrchError> {
    let mut page = Cli::command().disable_help_subcommand(true);
    page.build();
    if let Some(name) = command {
        let names: Vec<&str> = page
            .get_subcommands()
            .map(clap::Command::get_name)
            .collect();
        let unknown = || {
            let error = OrchError::new(ErrorClass::Usage, format!("there is no command `{name}`"));
            error.with_hint(match nearest(name, &names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the commands are {}", names.join(", ")),
            })
        };
        page = page.find_subcommand(name).cloned().ok_or_else(unknown)?;
    }
    let mut bytes = Vec::new();
    clap_mangen::Man::new(page)
        .source(concat!("orch ", env!("CARGO_PKG_VERSION")))
        .render(&mut bytes)
        .map_err(|error| {
            OrchError::new(ErrorClass::Failed, "cannot write the manual").caused_by(&error)
        })?;
    // Without a date the version would stand in its place.
    let text = String::from_utf8_lossy(&bytes).replacen(" 1  \"", " 1 \"\" \"", 1);
    Ok(call.print(&text))
}

pub(in crate::cli) fn schema(call: &Call, form: Option<SchemaForm>) -> u8 {
    let form = match form {
        None => return call.print_json(&config::schema()),
        Some(SchemaForm::Openai) => tools::SchemaForm::Openai,
        Some(SchemaForm::Anthropic) => tools::SchemaForm::Anthropic,
        Some(SchemaForm::Gemini) => tools::SchemaForm::Gemini,
    };
    let specs: Vec<_> = tools::names().into_iter().filter_map(tools::spec).collect();
    call.print_json(&tools::describe(form, &specs))
}

/// The price of a model, the table's edition, or a new price file.
pub(in crate::cli) fn prices(
    call: &Call,
    model: Option<&str>,
    update: Option<&Path>,
) -> Result<u8, OrchError> {
    let config = load::config(call)?;
    let file = config.state_dir.join(PRICE_FILE);
    let wrong = |error: costs::prices::PriceFileError| {
        OrchError::new(ErrorClass::Config, error.to_string()).with_hint(error.hint())
    };
    if let Some(source) = update {
        let updated = costs::prices::update(source, &file).map_err(wrong)?;
        return Ok(call.list(&format!(
            "{} models are priced by {} (edition {})\n",
            updated.models,
            updated.path.display(),
            updated.version
        )));
    }
    let prices = Prices::with_user_file(&file).map_err(wrong)?;
    let Some(model) = model else {
        let count = prices.names().len();
        let version = costs::prices::TABLE_VERSION;
        let own = file.is_file().then(|| file.display().to_string());
        return Ok(if call.json() {
            call.print_json(&json!({"models": count, "version": version, "file": own}))
        } else {
            let own = own.map_or("none".to_owned(), |own| own);
            call.list(&format!(
                "{count} models, edition {version}; the user's own file: {own}\n"
            ))
        });
    };
    let resolved = providers::resolve("litellm", model);
    let own = config.document.providers.get(&resolved.vendor);
    let listed = prices.facts(&resolved.canonical, &resolved.vendor);
    let listed = listed.as_ref().map(|listed| listed.name.as_str());
    let pricing = prices.price(Asked {
        model: &resolved.canonical,
        provider: &resolved.vendor,
        local: false,
        configured: own.and_then(|own| own.price_of(&resolved, listed)).as_ref(),
    });
    let value = match &pricing {
        Pricing::Known(price) => json!({"model": resolved.canonical, "priced": true,
            "source": price.source.name(), "version": price.version,
            "usd_per_mtok": {"input": price.base.input, "output": price.base.output,
                "cache_read": price.base.cache_read, "cache_write": price.base.cache_write,
                "cache_write_1h": price.base.cache_write_1h},
            "tiers": price.tiers.iter().map(|tier| json!({"above_input_tokens": tier.above_input_tokens,
                "input": tier.rates.input, "output": tier.rates.output,
                "cache_read": tier.rates.cache_read,
                "cache_write": tier.rates.cache_write})).collect::<Vec<_>>(),
            "off_peak": price.off_peak.as_ref().map(off_peak)}),
        Pricing::Local => json!({"model": resolved.canonical, "priced": true, "source": "local"}),
        Pricing::Unpriced => json!({"model": resolved.canonical, "priced": false}),
    };
    Ok(if call.json() {
        call.print_json(&value)
    } else if pricing == Pricing::Unpriced {
        call.list(&format!("{}: no price is known\n", resolved.canonical))
    } else {
        call.list(&lists::status_text(&value))
    })
}

/// Other prices at certain hours: the prices, and when.
fn off_peak(off_peak: &OffPeak) -> serde_json::Value {
    let windows: Vec<String> = off_peak.windows.iter().map(Window::to_string).collect();
    json!({"input": off_peak.rates.input, "output": off_peak.rates.output,
        "cache_read": off_peak.rates.cache_read, "windows_utc": windows})
}
