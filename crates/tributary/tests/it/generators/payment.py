"""Makes a payment with the client that openapi-python-client generates, and reads its events."""

import os

from client import AuthenticatedClient
from client.api.accounts import create_account, get_account
from client.api.events import list_events
from client.api.payments import create_payment, create_top_up
from client.models import (
    Account,
    AccountCreate,
    AccountKind,
    Currency,
    EventList,
    Payment,
    PaymentCreate,
    PaymentEvent,
    TransferCreate,
    Unlimited,
)


def open_account(client: AuthenticatedClient, body: AccountCreate, key: str) -> str:
    account = create_account.sync(client=client, body=body, idempotency_key=key)
    assert isinstance(account, Account), account
    return account.id


def main() -> None:
    client = AuthenticatedClient(base_url=os.environ["SERVER"], token=os.environ["KEY"])
    eur = Currency.EUR
    bank = AccountCreate(owner="platform", kind=AccountKind.EXTERNAL, currency=eur, overdraft=Unlimited.UNLIMITED)
    bank_id = open_account(client, bank, "python-bank")
    ada = open_account(client, AccountCreate(owner="ada", kind=AccountKind.WALLET, currency=eur), "python-ada")
    shop = open_account(client, AccountCreate(owner="shop", kind=AccountKind.MERCHANT, currency=eur), "python-shop")
    top_up = TransferCreate(amount=5000, currency=eur, source=bank_id, destination=ada)
    assert isinstance(create_top_up.sync(client=client, body=top_up, idempotency_key="python-top-up"), Payment)
    order = PaymentCreate(amount=1999, currency=eur, source=ada, destination=shop, reference="python-order")
    first = create_payment.sync_detailed(client=client, body=order, idempotency_key="python-order")
    again = create_payment.sync_detailed(client=client, body=order, idempotency_key="python-order")
    assert isinstance(first.parsed, Payment) and first.parsed == again.parsed, first
    assert again.headers["idempotent-replayed"] == "true"
    account = get_account.sync(shop, client=client)
    assert isinstance(account, Account) and account.posted == 1999, account
    events = list_events.sync(client=client, limit=100)
    assert isinstance(events, EventList), events
    newest = events.data[0]
    assert isinstance(newest, PaymentEvent), newest
    assert newest.data.object_.amount == 1999 and newest.data.failure is None, newest
    print("paid", first.parsed.id)


main()
