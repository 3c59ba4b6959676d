// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// All ranges, live and free, by offset: so dense that with 100,000 live ones it stays in the
// nearer caches, and a look-up reads one cache line, mostly its neighbours' too.
//
// The offset space is cut into buckets, a power of two of granules wide, at most one for each
// range that can be live. Each bucket has a home for eight ranges, 16 bytes (range_node.hpp):
// a range is one byte in it, and half a byte. What finds its home full is a spare, of which
// there are as many as there can be ranges; the spares of one bucket are a digital tree by
// start, and the home is called crowded. A summary of bitmaps says which buckets hold any
// range. What starts behind the last bucket (grow_capacity) is a spare, too. Where a bucket is
// wider than 256 granules, a tag is only the first 8 bits of a start; then starts stand in full
// beside.
//
//   numbers  0      none
//            1..    the spares
//            then   eight a home
//
// A range keeps its number as long as it keeps its start. Costs: each call one home or two; one
// word a level of the summary, mostly one in all; where spares are, the depth of their tree,
// twice at most: the bits of a bucket's width, plus one, at worst. One caller at a time.
#pragma once

#include "bit_tree.hpp"
#include "digital_tree.hpp"
#include "range_node.hpp"

namespace quarry {

template <typename Word, typename Steps>
class NodeTable {
public:
    using Free = FreeRange<Word>;
    static constexpr unsigned kTagBits = 8;

    // Where a range stands. What is inserted or removed behind it leaves it valid.
    struct Spot {
        RangeHome* home;  // of its bucket
        u32 rank;         // in it
        u32 spare;        // 0: it is at home
    };
    // The same where all is plain: it is at home, and the homes in question have no spares. So
    // it is mostly; whoever asks for a Place and gets none asks for a Spot.
    struct Place {
        RangeHome* home;
        u32 rank;

        operator Spot() const { return {home, rank, 0}; }
    };

    struct Layout {
        unsigned shift;  // a bucket is 2^shift granules
        u64 buckets;     // without the one behind
        u64 spares;      // all that ranges can have

        bool wide() const { return shift > kTagBits; }
        u64 homes_from() const { return round_up(spares + 1, 8); }
        u64 numbers() const { return homes_from() + RangeHome::kRanges * buckets; }
        u64 words_at() const { return (buckets + 1) * sizeof(RangeHome); }
        u64 starts_at() const { return words_at() + Levels::words_for(buckets + 1) * sizeof(u64); }
        u64 spares_at() const {
            return starts_at() + (wide() ? RangeHome::kRanges * buckets * sizeof(Word) : 0);
        }
        u64 stack_at() const { return spares_at() + (spares + 1) * sizeof(RangeSpare<Word>); }
        u64 heads_at() const { return stack_at() + round_up(spares, 2) * sizeof(u32); }
        u64 bytes() const { return heads_at() + round_up(buckets + 1, 2) * sizeof(u32); }
    };
    // For `granules` of offset space, `live` ranges at most. Both above 0.
    static Layout layout(u64 granules, u64 live) {
        unsigned shift = 3;
        while (((granules - 1) >> shift) + 1 > live && shift < 62) ++shift;
        return {shift, ((granules - 1) >> shift) + 1, 2 * live + 1};
    }

    // `memory`: layout.bytes(). Granules are below 2^bits.
    void attach(void* memory, const Layout& l, unsigned bits, Free* frees) {
        auto* bytes = static_cast<char*>(memory);
        layout_ = l;
        bits_ = bits;
        wide_ = l.wide();
        tag_shift_ = wide_ ? l.shift - kTagBits : 0;
        tag_mask_ = wide_ ? 255 : (1u << l.shift) - 1;
        homes_from_ = static_cast<u32>(l.homes_from());
        homes_ = reinterpret_cast<RangeHome*>(bytes);
        full_.attach(reinterpret_cast<u64*>(bytes + l.words_at()), l.buckets + 1);
        starts_ = reinterpret_cast<Word*>(bytes + l.starts_at());
        spares_ = reinterpret_cast<RangeSpare<Word>*>(bytes + l.spares_at());
        stack_ = reinterpret_cast<u32*>(bytes + l.stack_at());
        heads_ = reinterpret_cast<u32*>(bytes + l.heads_at());
        frees_ = frees;
    }
    // No range at all. O(numbers).
    void clear() {
        for (u64 b = 0; b <= layout_.buckets; ++b) {
            homes_[b] = {RangeHome::kNoTags, RangeHome::kAllSlots, 0};
            heads_[b] = 0;
            full_.clear(b);
        }
        unused_ = 0;
        for (u32 i = static_cast<u32>(layout_.spares); i > 0; --i) put_spare(i);
    }
    // Granules are below 2^bits from now on: the tree behind the last bucket is built anew.
    // O(ranges in it).
    void widen(unsigned bits) {
        u32 old = heads_[layout_.buckets];
        u32& head = heads_[layout_.buckets];
        head = 0;
        bits_ = bits;
        while (const u32 i = old) {
            tree().remove(&old);
            tree().insert(tree().locate(&head, spares_[i].start, bits), i);
        }
    }

    // Numbers are below it.
    u64 count() const { return layout_.numbers(); }
    // Most ranges on one way down a tree.
    unsigned depth() const { return (bits_ > layout_.shift ? bits_ : layout_.shift) + 1; }

    // ---- finding ----

    // False: none starts at this granule. For a Place: or it is not plain.
    [[gnu::always_inline]] bool find(u64 start, Place& p) const {
        Steps::step();
        const u64 bucket = start >> layout_.shift;
        if (bucket >= layout_.buckets) [[unlikely]] return false;
        p.home = homes_ + bucket;
        const u64 same = p.home->same(tag_of(start));
        if (same == 0) [[unlikely]] return false;
        p.rank = lowest_bit(same) / 8;
        if (p.rank >= p.home->count() || p.home->crowded()) [[unlikely]] return false;
        return !wide_ || home_start(p) == start || find_wide(start, p);
    }
    bool find(u64 start, Spot& s) const {
        Steps::step();
        s = {home_of(start), 0, 0};
        const u64 same = s.home->same(tag_of(start));
        if (same != 0) {
            Place p{s.home, lowest_bit(same) / 8};
            if (p.rank < s.home->count() && (home_start(p) == start || find_wide(start, p))) {
                s.rank = p.rank;
                return true;
            }
        }
        if (!s.home->crowded()) return false;
        const u64 bucket = bucket_of(s.home);
        s.spare = *tree().locate(&heads_[bucket], start, bits_of(bucket));
        return s.spare != 0 && spares_[s.spare].start == start;
    }
    // That of this number. False: none has it.
    bool named(u32 number, Spot& s) const {
        if (number < homes_from_) {
            if (number == 0 || number > layout_.spares) return false;
            const RangeSpare<Word>& spare = spares_[number];
            s = {home_of(spare.start), 0, number};
            return spare.number != RangeSpare<Word>::kUnused;
        }
        if (number >= layout_.numbers()) return false;
        const u32 n = number - homes_from_;
        s = {homes_ + n / RangeHome::kRanges, 0, 0};
        for (; s.rank < s.home->count(); ++s.rank)
            if (s.home->slot(s.rank) == n % RangeHome::kRanges) return true;
        return false;
    }
    // The last that starts at this granule or before. False: none does.
    bool at_most(u64 granule, Spot& s) const {
        s.home = home_of(granule);
        return last_of(granule, s) || last_before(s);
    }
    // On to the next, to the one before. False: there is none, and `s` is nothing.
    bool next(Spot& s) const {
        if (s.home->crowded()) [[unlikely]] {
            if (next_of(start(s), s)) return true;
        } else if (s.rank + 1 < s.home->count()) {
            ++s.rank;
            return true;
        }
        return first_from(bucket_of(s.home) + 1, s);
    }
    bool prev(Spot& s) const {
        if (s.home->crowded()) [[unlikely]] {
            const u64 at = start(s);
            return at != 0 && at_most(at - 1, s);
        }
        if (s.rank == 0) return last_before(s);
        --s.rank;
        return true;
    }
    bool first(Spot& s) const { return first_from(0, s); }
    bool last(Spot& s) const {
        s.home = homes_ + layout_.buckets + 1;
        return last_before(s);
    }
    // Both at once. Which of them is in another home, and how far that is, is as good as
    // random: no branch depends on it. False: they are not plain, or not near, or not there.
    [[gnu::always_inline]] bool beside(const Place& p, u64 start, Place& left, Place& right) const {
        Steps::step();
        const u64 bucket = start >> layout_.shift;
        const bool last = p.rank + 1 >= p.home->count();
        const bool first = p.rank == 0;
        // Buckets in the summary's word that hold any: behind and before this one; all ones
        // where it is not they that are asked for.
        const u64 word = full_.word_of(bucket);
        const u64 behind = word >> (bucket % 64) >> 1 | (u64{last} - 1);
        const u64 before = word << (63 - bucket % 64) << 1 | (u64{first} - 1);
        if (behind == 0 || before == 0) [[unlikely]] return false;
        right.home = p.home + last + lowest_bit(behind);
        right.rank = (p.rank + 1) & (u32{last} - 1);
        left.home = p.home - first - (63 - highest_bit(before));
        left.rank = (first ? left.home->count() : p.rank) - 1;
        return !((left.home->rest | right.home->rest) & RangeHome::kCrowded);
    }

    // ---- what is known of it ----

    u64 start(const Place& p) const { return home_start(p); }
    u64 start(const Spot& s) const { return s.spare ? spares_[s.spare].start : home_start({s.home, s.rank}); }
    u32 number(const Place& p) const {
        return homes_from_ + RangeHome::kRanges * static_cast<u32>(bucket_of(p.home)) +
               p.home->slot(p.rank);
    }
    u32 number(const Spot& s) const { return s.spare ? s.spare : number(Place{s.home, s.rank}); }
    bool is_free(const Place& p) const { return p.home->is_free(p.rank); }
    bool is_free(const Spot& s) const {
        return s.spare ? spares_[s.spare].number != 0 : s.home->is_free(s.rank);
    }
    // The FreeRange of a free one.
    [[gnu::always_inline]] u32 free_range(const Place& p) const { return chained(p); }
    u32 free_range(const Spot& s) const {
        return s.spare ? spares_[s.spare].number : chained({s.home, s.rank});
    }

    // ---- changing ----

    // A live one becomes free; frees[f].start is its own.
    [[gnu::always_inline]] void set_free(const Place& p, u32 f) {
        p.home->slots |= RangeHome::kFree << (4 * p.rank);
        frees_[f].chain = p.home->first();
        p.home->set_first(f);
    }
    void set_free(const Spot& s, u32 f) {
        if (s.spare)
            spares_[s.spare].number = f;
        else
            set_free(Place{s.home, s.rank}, f);
    }
    // The free one of this FreeRange becomes live.
    [[gnu::always_inline]] void set_live(const Place& p, u32 f) {
        p.home->slots &= ~(RangeHome::kFree << (4 * p.rank));
        if (p.home->first() == f) [[likely]]
            p.home->set_first(frees_[f].chain);
        else
            unchain(p.home->first(), f);
    }
    void set_live(const Spot& s, u32 f) {
        if (s.spare)
            spares_[s.spare].number = 0;
        else
            set_live(Place{s.home, s.rank}, f);
    }

    // A live one that starts here, where none does, next behind `before`. False: that is not
    // plain, nothing was done.
    [[gnu::always_inline]] bool insert(u64 start, const Place& before, Place& p) {
        Steps::step();
        const u64 bucket = start >> layout_.shift;
        if (bucket >= layout_.buckets) [[unlikely]] return false;
        p.home = homes_ + bucket;
        if (!p.home->has_room()) [[unlikely]] return false;
        if (p.home->count() == 0) [[unlikely]] full_.set(bucket);
        p.rank = before.home == p.home ? before.rank + 1 : 0;
        const u32 slot = p.home->insert(p.rank, tag_of(start));
        if (wide_) [[unlikely]] *start_of(p.home, slot) = static_cast<Word>(start);
        return true;
    }
    // The same, wherever it is.
    Spot insert(u64 start) {
        Steps::step();
        RangeHome* const h = home_of(start);
        const u64 bucket = bucket_of(h);
        if (h->count() == 0 && heads_[bucket] == 0) full_.set(bucket);
        if (bucket < layout_.buckets && h->count() < RangeHome::kRanges) {
            Place p{h, 0};
            while (p.rank < h->count() && home_start(p) < start) ++p.rank;
            const u32 slot = h->insert(p.rank, tag_of(start));
            if (wide_) *start_of(h, slot) = static_cast<Word>(start);
            return p;
        }
        const u32 i = stack_[--unused_];
        spares_[i].start = static_cast<Word>(start);
        spares_[i].number = 0;
        tree().insert(tree().locate(&heads_[bucket], start, bits_of(bucket)), i);
        h->rest |= RangeHome::kCrowded;
        return {h, 0, i};
    }
    // It is there no more; where it is free, set_live() came before.
    [[gnu::always_inline]] void remove(const Place& p) {
        Steps::step();
        p.home->remove(p.rank);
        if (p.home->count() == 0) [[unlikely]] emptied(p.home);
    }
    void remove(const Spot& s) {
        if (s.spare == 0) return remove(Place{s.home, s.rank});
        Steps::step();
        const u64 bucket = bucket_of(s.home);
        tree().remove(tree().locate(&heads_[bucket], spares_[s.spare].start, bits_of(bucket)));
        put_spare(s.spare);
        if (heads_[bucket] != 0) return;
        s.home->rest &= ~RangeHome::kCrowded;
        if (s.home->count() == 0) full_.clear(bucket);
    }

    // ---- for the audit ----

    u64 buckets() const { return layout_.buckets + 1; }
    u64 unused_spares() const { return unused_; }
    u64 spares() const { return layout_.spares; }

    // Is the home of a bucket whole: its ranges, its summary, the chain of its free ones? Adds
    // its ranges, without the spares, to `seen`. `numbers`: those of free ranges are below it.
    bool home_good(u64 bucket, u64 numbers, u64& seen) const {
        RangeHome* const h = homes_ + bucket;
        const u32 n = h->count();
        if (n > (bucket < layout_.buckets ? RangeHome::kRanges : 0)) return false;
        const bool some = n != 0 || heads_[bucket] != 0;
        if (!full_.consistent(bucket) || full_.has(bucket) != some ||
            h->crowded() != (heads_[bucket] != 0))
            return false;
        u32 slots = 0;
        u32 frees = 0;
        for (u32 rank = 0; rank < RangeHome::kRanges; ++rank) {
            slots |= 1u << h->slot(rank);
            if (rank >= n) {
                if (h->tag(rank) != 255 || h->is_free(rank)) return false;
                continue;
            }
            frees += h->is_free(rank);
            const u64 at = home_start({h, rank});
            if (home_of(at) != h || tag_of(at) != h->tag(rank)) return false;
            if (rank != 0 && home_start({h, rank - 1}) >= at) return false;
        }
        if (slots != 255) return false;
        u32 f = h->first();
        for (; frees != 0; --frees, f = frees_[f].chain) {
            Spot s;
            if (f == 0 || f >= numbers || !find(frees_[f].start, s) || s.spare || s.home != h ||
                !is_free(s) || free_range(s) != f)
                return false;
        }
        seen += n;
        return f == 0;
    }
    // The first spare of this bucket at `from` or behind. 0: there is none. They come in the
    // order of their starts, unless the tree is torn.
    u32 spare_from(u64 bucket, u64 from) const {
        const unsigned bits = bits_of(bucket);
        if (heads_[bucket] == 0 || from >> bits != base_of(bucket) >> bits) return 0;
        return tree().at_least(heads_[bucket], from, bits);
    }
    u64 base_of(u64 bucket) const { return bucket < layout_.buckets ? bucket << layout_.shift : 0; }
    // Is it of this bucket, in use, and not left of `from`?
    bool spare_good(u64 bucket, u32 i, u64 from) const {
        return i >= 1 && i <= layout_.spares &&
               spares_[i].number != RangeSpare<Word>::kUnused && spares_[i].start >= from &&
               bucket_of(home_of(spares_[i].start)) == bucket;
    }
    u64 spare_start(u32 i) const { return spares_[i].start; }
    // Is the k-th of the unused spares unused, and here alone?
    bool unused_good(u64 k) const {
        const u32 i = stack_[k];
        return i >= 1 && i <= layout_.spares &&
               spares_[i].number == RangeSpare<Word>::kUnused && spares_[i].start == k;
    }

private:
    using Levels = BitTree<Steps>;
    struct View {
        using Key = u64;
        RangeSpare<Word>* spares;

        u64 key(u32 i) const { return spares[i].start; }
        u32* kids(u32 i) const { return spares[i].kids; }
    };
    using Tree = DigitalTree<View, Steps>;

    Tree tree() const { return Tree(View{spares_}); }
    RangeHome* home_of(u64 granule) const {
        const u64 bucket = granule >> layout_.shift;
        return homes_ + (bucket < layout_.buckets ? bucket : layout_.buckets);
    }
    u64 bucket_of(const RangeHome* h) const { return static_cast<u64>(h - homes_); }
    u32 tag_of(u64 granule) const { return static_cast<u32>(granule >> tag_shift_) & tag_mask_; }
    unsigned bits_of(u64 bucket) const { return bucket < layout_.buckets ? layout_.shift : bits_; }
    Word* start_of(const RangeHome* h, u32 slot) const {
        return starts_ + bucket_of(h) * RangeHome::kRanges + slot;
    }
    u64 home_start(const Place& p) const {
        if (wide_) [[unlikely]] return *start_of(p.home, p.home->slot(p.rank));
        return (bucket_of(p.home) << layout_.shift) + p.home->tag(p.rank);
    }
    void put_spare(u32 i) {
        spares_[i] = {static_cast<Word>(unused_), RangeSpare<Word>::kUnused, {0, 0}};
        stack_[unused_++] = i;
    }

    // Of a wide bucket's ranges with this tag, p is the first: on to that which starts here.
    [[gnu::noinline]] bool find_wide(u64 start, Place& p) const {
        const u32 tag = tag_of(start);
        const u32 n = p.home->count();
        while (++p.rank < n && p.home->tag(p.rank) == tag)
            if (home_start(p) == start) return true;
        return false;
    }
    [[gnu::always_inline]] u32 chained(const Place& p) const {
        const u64 start = home_start(p);
        u32 f = p.home->first();
        for (u32 left = RangeHome::kRanges; frees_[f].start != start && --left != 0;) {
            Steps::step();
            f = frees_[f].chain;
        }
        return f;
    }
    [[gnu::noinline]] void unchain(u32 before, u32 f) {
        for (u32 left = RangeHome::kRanges; frees_[before].chain != f && --left != 0;) {
            Steps::step();
            before = frees_[before].chain;
        }
        frees_[before].chain = frees_[f].chain;
    }
    // The home has none any more; there may be spares.
    [[gnu::noinline]] void emptied(RangeHome* h) {
        if (heads_[bucket_of(h)] == 0) full_.clear(bucket_of(h));
    }

    // The last at this home that starts at `granule` at most.
    bool last_of(u64 granule, Spot& s) const {
        Steps::step();
        Place p{s.home, s.home->count()};
        while (p.rank-- != 0 && home_start(p) > granule) {}
        const bool some = p.rank != ~0u;
        s = p;
        if (!s.home->crowded()) [[likely]] return some;
        const u64 bucket = bucket_of(s.home);
        const u32 i = tree().at_most(heads_[bucket], granule, bits_of(bucket));
        if (i != 0 && (!some || spares_[i].start > home_start(p))) s.spare = i;
        return some || i != 0;
    }
    // The last before this home.
    bool last_before(Spot& s) const {
        if (s.home == homes_) return false;
        const u64 bucket = full_.at_most(bucket_of(s.home) - 1);
        if (bucket == Levels::kNone) return false;
        s = {homes_ + bucket, homes_[bucket].count() - 1, 0};
        if (!s.home->crowded()) [[likely]] return true;
        return last_of(base_of(bucket) | ((u64{1} << bits_of(bucket)) - 1), s);
    }
    // The first at this home, which is crowded, that starts behind `granule`.
    bool next_of(u64 granule, Spot& s) const {
        Steps::step();
        const u32 n = s.home->count();
        Place p{s.home, 0};
        while (p.rank < n && home_start(p) <= granule) ++p.rank;
        const u32 i = spare_from(bucket_of(s.home), granule + 1);
        s = p;
        if (i != 0 && (p.rank == n || spares_[i].start < home_start(p))) s.spare = i;
        return p.rank != n || i != 0;
    }
    // The first of this bucket or those behind.
    bool first_from(u64 bucket, Spot& s) const {
        bucket = full_.at_least(bucket);
        if (bucket == Levels::kNone) return false;
        const Place p{homes_ + bucket, 0};
        s = p;
        if (!s.home->crowded()) [[likely]] return true;
        const u32 i = tree().least(heads_[bucket]);
        if (i != 0 && (s.home->count() == 0 || spares_[i].start < home_start(p))) s.spare = i;
        return true;
    }

    Layout layout_{};
    RangeHome* homes_ = nullptr;
    Free* frees_ = nullptr;
    bool wide_ = false;
    unsigned tag_shift_ = 0;
    u32 tag_mask_ = 0;
    u32 homes_from_ = 0;
    Word* starts_ = nullptr;  // of a wide bucket's ranges, by slot
    RangeSpare<Word>* spares_ = nullptr;
    u32* stack_ = nullptr;  // unused ones
    u32* heads_ = nullptr;  // roots of their trees, one a bucket and one behind
    u32 unused_ = 0;
    unsigned bits_ = 0;
    Levels full_;
};

}  // namespace quarry
