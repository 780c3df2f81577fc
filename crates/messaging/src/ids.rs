//! Public ids of subscriptions and receipts.

use tributary_engine::{IdKind, Ids};

use crate::delivery::Receipt;
use crate::settings::SubscriptionId;

/// Encodes and decodes the ids of subscriptions and receipts, which are the same in every epoch of a journal.
pub trait DeliveryIds {
    /// Returns the id of a subscription.
    fn encode_subscription(&self, id: SubscriptionId) -> String;

    /// Returns the subscription of an id, if the text is such an id. The subscription need not exist.
    fn decode_subscription(&self, id: &str) -> Option<SubscriptionId>;

    /// Returns the subscription of the 16 bytes behind an id.
    fn subscription_of(&self, block: [u8; 16]) -> Option<SubscriptionId>;

    /// Returns the 16 bytes behind the text of a receipt.
    fn receipt_block(&self, receipt: Receipt) -> [u8; 16];

    /// Returns the blocks of the event and the receipt of each delivery, as [`Ids::block`] and [`DeliveryIds::receipt_block`] do, but
    /// faster.
    fn delivery_blocks(&self, receipts: &[Receipt]) -> Vec<[[u8; 16]; 2]>;

    /// Returns the text of a receipt.
    fn encode_receipt(&self, receipt: Receipt) -> String;

    /// Returns the receipt of a text.
    fn decode_receipt(&self, text: &str) -> Option<Receipt>;

    /// Returns the receipt of 16 bytes.
    fn receipt_of(&self, block: [u8; 16]) -> Option<Receipt>;
}

fn subscription((zero, number): (u64, u64)) -> Option<SubscriptionId> {
    (zero == 0).then_some(SubscriptionId(number))
}

fn receipt((generation, position): (u64, u64)) -> Receipt {
    Receipt {
        position,
        generation,
    }
}

impl DeliveryIds for Ids {
    fn encode_subscription(&self, id: SubscriptionId) -> String {
        let text = self.pair_text(IdKind::Subscription, 0, id.0);
        text.as_str().to_owned()
    }

    fn decode_subscription(&self, id: &str) -> Option<SubscriptionId> {
        subscription(self.decode_pair(IdKind::Subscription, id)?)
    }

    fn subscription_of(&self, block: [u8; 16]) -> Option<SubscriptionId> {
        subscription(self.decode_pair_block(IdKind::Subscription, block)?)
    }

    fn receipt_block(&self, receipt: Receipt) -> [u8; 16] {
        self.pair_block(IdKind::Receipt, receipt.generation, receipt.position)
    }

    fn delivery_blocks(&self, receipts: &[Receipt]) -> Vec<[[u8; 16]; 2]> {
        let pairs = receipts.iter().map(|one| (one.generation, one.position));
        self.event_and_pair_blocks(IdKind::Receipt, pairs)
    }

    fn encode_receipt(&self, receipt: Receipt) -> String {
        let text = self.pair_text(IdKind::Receipt, receipt.generation, receipt.position);
        text.as_str().to_owned()
    }

    fn decode_receipt(&self, text: &str) -> Option<Receipt> {
        self.decode_pair(IdKind::Receipt, text).map(receipt)
    }

    fn receipt_of(&self, block: [u8; 16]) -> Option<Receipt> {
        self.decode_pair_block(IdKind::Receipt, block).map(receipt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_and_subscriptions_are_read_as_what_they_are() {
        let ids = Ids::new(&[7; 16], &[(1, 1), (2, 100)]);
        let receipt = Receipt {
            position: u64::MAX - 1,
            generation: (1 << 56) - 1,
        };
        let text = ids.encode_receipt(receipt);
        assert_eq!(ids.decode_receipt(&text), Some(receipt));
        let block = ids.receipt_block(receipt);
        assert_eq!(ids.receipt_of(block), Some(receipt));
        let later = Receipt {
            position: receipt.position + 1,
            ..receipt
        };
        for count in 0..=2 {
            let receipts = &[receipt, later][..count];
            let one = |one: &Receipt| {
                let event = ids.block(IdKind::Event, one.position);
                [event, ids.receipt_block(*one)]
            };
            let each: Vec<_> = receipts.iter().map(one).collect();
            assert_eq!(ids.delivery_blocks(receipts), each);
        }
        assert_eq!(ids.subscription_of(block), None);
        assert_eq!(ids.decode_subscription(&text.replace("rcp", "sub")), None);
        let id = SubscriptionId(1 << 60);
        let text = ids.encode_subscription(id);
        assert_eq!(ids.decode_subscription(&text), Some(id));
        assert_eq!(ids.decode_receipt(&text.replace("sub", "rcp")), None);
        assert_eq!(ids.decode(IdKind::Event, &text.replace("sub", "evt")), None);
    }
}
