//! `serve --demo`: makes a day of realistic payments through the public API, the same on every machine.

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::amount::{decimal, exponent_of};
use crate::batch::{BatchCommand, CommandResult, send_commands};
use crate::client::Client;
use crate::terminal::{print_line, progress_bar};

/// Opening hours of the day: 07:00 to 22:00.
const HOURS: std::ops::Range<u64> = 7..22;
const CUSTOMERS: usize = 40;
const PAYMENTS_PER_HOUR: u64 = 18;

struct Shop {
    name: &'static str,
    currency: &'static str,
    /// Minor units.
    lowest_price: u64,
    highest_price: u64,
    /// Relative frequency among the shops of the same currency.
    weight: u64,
    /// Percentage of orders that are authorized first and captured later.
    later: u64,
}

const SHOPS: [Shop; 7] = [
    shop("bakery", "EUR", (120, 1_900), 30, 0),
    shop("greengrocer", "EUR", (250, 4_500), 20, 0),
    shop("bookshop", "EUR", (790, 9_900), 10, 40),
    shop("cinema", "EUR", (900, 4_800), 12, 10),
    shop("bike-repair", "EUR", (1_500, 24_000), 4, 70),
    shop("taxi", "EUR", (850, 6_500), 14, 100),
    shop("noodle-bar", "JPY", (600, 4_200), 1, 0),
];

const fn shop(
    name: &'static str,
    currency: &'static str,
    (lowest_price, highest_price): (u64, u64),
    weight: u64,
    later: u64,
) -> Shop {
    Shop {
        name,
        currency,
        lowest_price,
        highest_price,
        weight,
        later,
    }
}

/// Fee of a shop for each payment: basis points, and flat minor units.
const FEE_BASIS_POINTS: u64 = 140;
const FEE_FLAT: u64 = 10;

/// Counts of the day.
#[derive(Debug, Default)]
pub(crate) struct DemoSummary {
    accounts: u64,
    done: u64,
    refused: u64,
    refunds: u64,
}

/// Fills the system. Every command has its own idempotency key, so that a second run completes an interrupted one.
pub(crate) fn fill_system(client: &mut Client) -> anyhow::Result<DemoSummary> {
    let mut demo = Demo::open(client)?;
    let bar = progress_bar(HOURS.end - HOURS.start, "hours");
    for hour in HOURS {
        bar.set_message(format!("{hour:02}:00, {} payments", demo.summary.done));
        demo.send_hour(client, hour)?;
        bar.inc(1);
    }
    demo.send_payouts(client)?;
    bar.finish_and_clear();
    Ok(demo.summary)
}

/// Prints the counts of the day and the trial balance.
pub(crate) fn print_summary(
    client: &mut Client,
    summary: &DemoSummary,
    url: &str,
) -> anyhow::Result<()> {
    print_line(&format!(
        "A day of payments is in: {} accounts, {} payments made,",
        summary.accounts, summary.done
    ));
    print_line(&format!(
        "{} refused for lack of funds, {} refunds.",
        summary.refused, summary.refunds
    ));
    let trial = client.get("/v1/trial_balance")?.require_success()?.json()?;
    for line in trial["currencies"].as_array().into_iter().flatten() {
        let exponent = line["currency"].as_str().and_then(exponent_of).unwrap_or(0);
        let money = |name: &str| Some(decimal(line[name].as_str()?.parse().ok()?, exponent));
        if let (Some(currency), Some(debit), Some(credit)) =
            (line["currency"].as_str(), money("debits"), money("credits"))
        {
            print_line(&format!(
                "The books balance: {currency} {debit} debit = {credit} credit."
            ));
        }
    }
    print_line(&format!("\nRead the API:        {url}/docs"));
    Ok(())
}

struct Demo {
    bank: [(&'static str, String); 2],
    fees: [(&'static str, String); 2],
    shops: Vec<String>,
    /// One wallet per customer and currency; one customer in ten also has yen.
    wallets: Vec<(&'static str, String)>,
    random: Random,
    /// Authorized payments that are not yet captured.
    held: Vec<String>,
    /// Captured payments, which may be refunded.
    captured: Vec<String>,
    summary: DemoSummary,
    count: u64,
}

impl Demo {
    fn open(client: &mut Client) -> anyhow::Result<Self> {
        let account = |owner: &str, kind: &str, currency: &str, unlimited: bool| {
            let external_id = format!("{kind}-{currency}");
            let mut fields = json!({ "owner": owner, "kind": kind, "currency": currency, "external_id": external_id });
            if unlimited {
                fields["overdraft"] = json!("unlimited");
            }
            BatchCommand::new(
                "account",
                format!("demo:account:{owner}:{kind}:{currency}"),
                fields,
            )
        };
        let mut items = Vec::new();
        for currency in ["EUR", "JPY"] {
            items.push(account("platform", "external", currency, true));
            items.push(account("platform", "fee", currency, false));
        }
        for Shop { name, currency, .. } in SHOPS {
            items.push(account(name, "merchant", currency, false));
        }
        let mut currencies = Vec::new();
        for customer in 1..=CUSTOMERS {
            for currency in ["EUR", "JPY"] {
                if currency == "EUR" || customer.is_multiple_of(10) {
                    items.push(account(
                        &format!("customer-{customer:02}"),
                        "wallet",
                        currency,
                        false,
                    ));
                    currencies.push(currency);
                }
            }
        }
        let mut ids = send_commands(client, &items)?
            .into_iter()
            .map(|answer| match answer {
                CommandResult::Done { id, .. } => Ok(id),
                CommandResult::Refused { code, reason, .. } => {
                    Err(anyhow::anyhow!("{code}: {reason}"))
                }
            });
        let mut next = || ids.next().context("an answer is missing")?;
        let (bank_eur, fee_eur, bank_jpy, fee_jpy) = (next()?, next()?, next()?, next()?);
        let shops = SHOPS
            .iter()
            .map(|_| next())
            .collect::<anyhow::Result<_>>()?;
        let wallets = currencies
            .into_iter()
            .map(|currency| Ok((currency, next()?)))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            bank: [("EUR", bank_eur), ("JPY", bank_jpy)],
            fees: [("EUR", fee_eur), ("JPY", fee_jpy)],
            shops,
            wallets,
            random: Random(0x5eed_0000_0000_0001),
            held: Vec::new(),
            captured: Vec::new(),
            summary: DemoSummary {
                accounts: items.len() as u64,
                ..DemoSummary::default()
            },
            count: 0,
        })
    }

    /// Sends the commands of one hour: top-ups, payments, captures and voids, refunds.
    fn send_hour(&mut self, client: &mut Client, hour: u64) -> anyhow::Result<()> {
        let mut items = Vec::new();
        // In the first hour all wallets are filled; later a few are topped up.
        let morning = if hour == HOURS.start {
            self.wallets.len()
        } else {
            0
        };
        for at in 0..morning {
            let amount = 12_000 + self.random.below(25) * 1_000;
            items.push(self.top_up(hour, at, amount));
        }
        for _ in 0..2 {
            let (at, amount) = (self.wallet(), 2_000 + self.random.below(9) * 1_000);
            items.push(self.top_up(hour, at, amount));
        }
        // Noon and the early evening are busy.
        let busy = if matches!(hour, 12 | 13 | 18 | 19) {
            2
        } else {
            1
        };
        for _ in 0..PAYMENTS_PER_HOUR * busy {
            items.push(self.payment(hour));
        }
        for payment in std::mem::take(&mut self.held) {
            match self.random.below(10) {
                0..6 => items
                    .push(self.command("capture", json!({ "payment": payment, "final": true }))),
                6 => items.push(self.command("void", json!({ "payment": payment }))),
                _ => self.held.push(payment),
            }
        }
        for _ in 0..self.captured.len().min(2) {
            let at = self.random.below(self.captured.len() as u64) as usize;
            let payment = self.captured.swap_remove(at);
            let note = json!({ "payment": payment, "description": "returned", "metadata": time_metadata(hour, 50) });
            items.push(self.command("refund", note));
        }
        self.send(client, &items)
    }

    /// Pays out the shops' balances.
    fn send_payouts(&mut self, client: &mut Client) -> anyhow::Result<()> {
        let mut items = Vec::new();
        for (at, Shop { name, currency, .. }) in SHOPS.iter().enumerate() {
            let account = client
                .get(&format!("/v1/accounts/{}", self.shops[at]))?
                .require_success()?
                .json()?;
            let available = account["available"].as_u64().unwrap_or(0);
            // The rest stays for refunds.
            let amount = available / 10 * 9;
            if amount > 0 {
                let fields = json!({
                    "amount": amount, "currency": currency, "source": self.shops[at],
                    "destination": account_in(&self.bank, currency), "description": format!("daily payout of {name}"), "paid": true,
                    "metadata": time_metadata(22, 0),
                });
                items.push(self.command("payout", fields));
            }
        }
        self.send(client, &items)
    }

    fn top_up(&mut self, hour: u64, wallet: usize, amount: u64) -> BatchCommand {
        let (currency, wallet) = self.wallets[wallet].clone();
        let fields = json!({
            "amount": amount, "currency": currency, "source": account_in(&self.bank, currency), "destination": wallet,
            "description": "top-up by bank transfer", "metadata": time_metadata(hour, self.random.below(60)),
        });
        self.command("top_up", fields)
    }

    fn payment(&mut self, hour: u64) -> BatchCommand {
        let wallet = self.wallet();
        let (currency, wallet) = self.wallets[wallet].clone();
        let at = self.shop(currency);
        let shop = &SHOPS[at];
        let amount =
            shop.lowest_price + self.random.below(shop.highest_price - shop.lowest_price) / 10 * 10;
        let mut fields = json!({
            "amount": amount, "currency": currency, "source": wallet, "destination": self.shops[at],
            "fees": [{ "account": account_in(&self.fees, currency), "amount": FEE_FLAT, "basis_points": FEE_BASIS_POINTS }],
            "reference": format!("order-{:04}", self.count + 1),
            "description": format!("order at the {}", shop.name), "metadata": time_metadata(hour, self.random.below(60)),
        });
        if self.random.below(100) < shop.later {
            fields["capture_method"] = json!("manual");
            fields["expires_at"] = json!("2100-01-01T00:00:00Z");
        }
        self.command("payment", fields)
    }

    fn wallet(&mut self) -> usize {
        self.random.below(self.wallets.len() as u64) as usize
    }

    /// Chooses a shop of the currency by weight.
    fn shop(&mut self, currency: &str) -> usize {
        let fits = |shop: &&Shop| shop.currency == currency;
        let mut left = self
            .random
            .below(SHOPS.iter().filter(fits).map(|shop| shop.weight).sum());
        for (at, shop) in SHOPS.iter().enumerate().filter(|(_, shop)| fits(shop)) {
            if left < shop.weight {
                return at;
            }
            left -= shop.weight;
        }
        unreachable!("the weights add up to the bound")
    }

    fn command(&mut self, kind: &'static str, fields: Value) -> BatchCommand {
        self.count += 1;
        BatchCommand::new(kind, format!("demo:{}", self.count), fields)
    }

    fn send(&mut self, client: &mut Client, items: &[BatchCommand]) -> anyhow::Result<()> {
        for (item, answer) in items.iter().zip(send_commands(client, items)?) {
            let id = match answer {
                // An earlier, interrupted run made this payout with another amount.
                CommandResult::Refused { code, .. } if code == "idempotency_key_reused" => {
                    self.summary.done += 1;
                    continue;
                }
                CommandResult::Refused { .. } => {
                    self.summary.refused += 1;
                    continue;
                }
                CommandResult::Done { id, .. } => id,
            };
            match item.kind {
                "payment" if item.fields["capture_method"] == "manual" => self.held.push(id),
                "payment" => self.captured.push(id),
                "refund" => self.summary.refunds += 1,
                _ => {}
            }
            self.summary.done += u64::from(matches!(item.kind, "payment" | "top_up" | "payout"));
        }
        Ok(())
    }
}

fn account_in<'a>(accounts: &'a [(&'static str, String); 2], currency: &str) -> &'a str {
    let found = accounts.iter().find(|(of, _)| *of == currency);
    &found.expect("there is one for each currency of the demo").1
}

fn time_metadata(hour: u64, minute: u64) -> Value {
    json!({ "time": format!("{hour:02}:{minute:02}") })
}

/// A generator of random numbers (xorshift64*) with a fixed seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}
