//! Set of ascending numbers that finds the rank of each. A number takes a sixth of a byte where numbers are dense, and two
//! bytes where they are sparse.

/// Number of low bits of a number within a page.
const PAGE_BITS: u32 = 16;
const WORDS: usize = 1 << PAGE_BITS >> WORD_BITS;
const WORD_BITS: u32 = 6;
/// A page with more numbers takes less memory as a bit set.
const FEW_MAX: usize = size_of::<Bits>() / size_of::<u16>();

/// Numbers in ascending order.
#[derive(Clone, Default)]
pub(crate) struct Ranks {
    /// Upper bits of the numbers of each page, ascending.
    uppers: Vec<u64>,
    pages: Vec<Page>,
    len: usize,
    last: Option<u64>,
}

#[derive(Clone)]
struct Page {
    /// Number of numbers in the pages before.
    before: usize,
    lows: Lows,
}

/// Low bits of the numbers of a page.
#[derive(Clone)]
enum Lows {
    Few(Vec<u16>),
    Many(Box<Bits>),
}

#[derive(Clone)]
struct Bits {
    words: [u64; WORDS],
    /// For each word, the number of bits in the words before, up to the last word that was ever written.
    before: [u16; WORDS],
    count: usize,
    /// Last word for which `before` is known.
    reached: usize,
}

fn upper(number: u64) -> u64 {
    number >> PAGE_BITS
}

fn low(number: u64) -> u16 {
    number as u16
}

fn word(low: u16) -> usize {
    usize::from(low >> WORD_BITS)
}

/// Returns the bit of a number in its word.
fn bit(low: u16) -> u64 {
    1 << (low % (1 << WORD_BITS))
}

impl Bits {
    fn from_lows(lows: &[u16]) -> Box<Bits> {
        let mut bits = Box::new(Bits {
            words: [0; WORDS],
            before: [0; WORDS],
            count: 0,
            reached: 0,
        });
        lows.iter().for_each(|low| bits.push(*low));
        bits
    }

    fn push(&mut self, low: u16) {
        let word = word(low);
        let count = u16::try_from(self.count).expect("words before the last are not all there are");
        self.before[(self.reached + 1).min(word + 1)..=word].fill(count);
        self.reached = word;
        self.words[word] |= bit(low);
        self.count += 1;
    }

    fn pop(&mut self, low: u16) {
        self.words[word(low)] &= !bit(low);
        self.reached = word(low);
        self.count -= 1;
    }

    fn has(&self, low: u16) -> bool {
        self.words[word(low)] & bit(low) != 0
    }

    /// Returns how many numbers of the page are below this.
    fn below(&self, low: u16) -> usize {
        let word = word(low);
        if word > self.reached {
            return self.count;
        }
        let lower = self.words[word] & (bit(low) - 1);
        usize::from(self.before[word]) + lower.count_ones() as usize
    }

    /// Returns the number with this rank in the page.
    fn nth(&self, place: usize) -> u16 {
        let before = &self.before[..=self.reached];
        let word = before.partition_point(|before| usize::from(*before) <= place) - 1;
        let mut left = self.words[word];
        for _ in usize::from(before[word])..place {
            left &= left - 1;
        }
        (word << WORD_BITS) as u16 | left.trailing_zeros() as u16
    }
}

impl Lows {
    fn len(&self) -> usize {
        match self {
            Lows::Few(lows) => lows.len(),
            Lows::Many(bits) => bits.count,
        }
    }

    fn push(&mut self, low: u16) {
        match self {
            Lows::Few(lows) if lows.len() < FEW_MAX => lows.push(low),
            Lows::Few(lows) => {
                let mut bits = Bits::from_lows(lows);
                bits.push(low);
                *self = Lows::Many(bits);
            }
            Lows::Many(bits) => bits.push(low),
        }
    }

    fn pop(&mut self, low: u16) {
        match self {
            Lows::Few(lows) => _ = lows.pop(),
            Lows::Many(bits) => bits.pop(low),
        }
    }

    fn place(&self, low: u16) -> Option<usize> {
        match self {
            Lows::Few(lows) => lows.binary_search(&low).ok(),
            Lows::Many(bits) => bits.has(low).then(|| bits.below(low)),
        }
    }

    fn below(&self, low: u16) -> usize {
        match self {
            Lows::Few(lows) => lows.partition_point(|known| *known < low),
            Lows::Many(bits) => bits.below(low),
        }
    }

    fn nth(&self, place: usize) -> u16 {
        match self {
            Lows::Few(lows) => lows[place],
            Lows::Many(bits) => bits.nth(place),
        }
    }
}

impl Ranks {
    /// Returns the number of numbers.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns whether a number is higher than all others.
    pub(crate) fn is_next(&self, number: u64) -> bool {
        self.last.is_none_or(|last| last < number)
    }

    /// Returns the rank of a number, if present.
    pub(crate) fn place(&self, number: u64) -> Option<usize> {
        let page = &self.pages[self.page(upper(number)).ok()?];
        Some(page.before + page.lows.place(low(number))?)
    }

    /// Returns how many numbers are below a number.
    pub(crate) fn below(&self, number: u64) -> usize {
        match self.page(upper(number)) {
            Ok(page) => {
                let page = &self.pages[page];
                page.before + page.lows.below(low(number))
            }
            Err(next) => self.pages.get(next).map_or(self.len, |next| next.before),
        }
    }

    /// Returns the number with this rank.
    pub(crate) fn nth(&self, place: usize) -> Option<u64> {
        if place >= self.len {
            return None;
        }
        let page = self.pages.partition_point(|page| page.before <= place) - 1;
        let low = self.pages[page].lows.nth(place - self.pages[page].before);
        Some(self.uppers[page] << PAGE_BITS | u64::from(low))
    }

    /// Returns the index of the page with these upper bits, or where to insert it.
    fn page(&self, upper: u64) -> Result<usize, usize> {
        // Where no page is left out it is known at once.
        let first = self.uppers.first().copied().unwrap_or_default();
        let guess = usize::try_from(upper.wrapping_sub(first)).unwrap_or(usize::MAX);
        if self.uppers.get(guess) == Some(&upper) {
            return Ok(guess);
        }
        self.uppers.binary_search(&upper)
    }

    /// Adds a number that is higher than all others and returns its rank.
    pub(crate) fn push(&mut self, number: u64) -> usize {
        assert!(self.is_next(number), "numbers ascend");
        if self.uppers.last() != Some(&upper(number)) {
            self.uppers.push(upper(number));
            self.pages.push(Page {
                before: self.len,
                lows: Lows::Few(Vec::new()),
            });
        }
        let page = self.pages.last_mut().expect("there is one");
        page.lows.push(low(number));
        self.last = Some(number);
        self.len += 1;
        self.len - 1
    }

    /// Removes the last number, which must be this.
    pub(crate) fn pop(&mut self, number: u64) {
        assert_eq!(self.last, Some(number), "only the last is taken away");
        let page = self.pages.last_mut().expect("it is in a page");
        page.lows.pop(low(number));
        if page.lows.len() == 0 {
            self.pages.pop();
            self.uppers.pop();
        }
        self.len -= 1;
        self.last = self.len.checked_sub(1).and_then(|place| self.nth(place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(numbers: impl Iterator<Item = u64>) {
        let mut ranks = Ranks::default();
        let mut expected = Vec::new();
        for (at, number) in numbers.enumerate() {
            assert!(ranks.is_next(number));
            assert_eq!(ranks.push(number), expected.len());
            expected.push(number);
            // Some are taken back, and the last of them comes again.
            if at % 97 == 96 {
                let again = expected[expected.len() - 1];
                for _ in 0..at % 89 {
                    ranks.pop(expected.pop().unwrap());
                }
                if expected.last() != Some(&again) {
                    ranks.push(again);
                    expected.push(again);
                }
            }
        }
        assert_eq!(ranks.len(), expected.len());
        for (place, &number) in expected.iter().enumerate() {
            assert_eq!(ranks.place(number), Some(place));
            assert_eq!(ranks.nth(place), Some(number));
            assert_eq!(ranks.below(number), place);
            let next = expected.get(place + 1);
            if next != Some(&(number + 1)) {
                assert_eq!(ranks.place(number + 1), None);
                assert_eq!(ranks.below(number + 1), place + 1);
            }
        }
        assert_eq!(ranks.nth(expected.len()), None);
        assert_eq!(ranks.below(u64::MAX), expected.len());
    }

    #[test]
    fn every_number_has_the_place_that_it_was_given() {
        check(0..200_000);
        check((0..200_000).map(|number| number * 3 + 1));
        check((0..20_000).map(|number| number * 70 + (1 << 40)));
        check((0..2_000).map(|number| number * number * 1_000_003));
        // A page that turns from few to many at its very end, and one that is full.
        check((65_536 - FEW_MAX as u64 - 2..65_536).chain(131_000..300_000));
    }
}
