// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// The free ranges by size: the smallest that is large enough, in a few steps.
//
//   bins     sizes below 4096 granules have a bin each; above, each power of two has 64
//            (a floating point number with 6 bits of mantissa). A bitmap says which bins are
//            not empty, two words say which words of it are not 0.
//   a bin of one size   is a list, the last that came first
//   a bin of many       is a digital tree by (size, number of the node): the least of it is
//                       the best. Such ranges are few: capacity / 4096 at most.
//
// So what find() answers is exact: no smaller range would do. Costs: find, insert and remove
// read 3 words of bitmaps at most, and below 4096 granules two nodes; above, as many nodes as
// the tree is deep: log2 of the size, minus 6, plus log2 of the nodes, at most.
// Metadata: 4 bytes a bin and a bit; at most 30 KiB, for any capacity.
//
// `Ranges` says size_of(node) and link(node): two numbers a node, for this index alone.
// Writers write link(0) without asking. One caller at a time.
#pragma once

#include "digital_tree.hpp"

namespace quarry {

template <typename Ranges, typename Steps>
class SizeIndex {
public:
    static constexpr u64 kExact = 4096;
    static constexpr unsigned kExactBits = 12;
    static_assert(kExact == u64{1} << kExactBits);

    static u32 bin_of(u64 size) {
        if (size < kExact) [[likely]] return static_cast<u32>(size);
        const unsigned e = highest_bit(size);
        return static_cast<u32>(kExact + (e - kExactBits) * 64 + ((size >> (e - 6)) & 63));
    }
    // The smallest size of a bin.
    static u64 least_of(u32 bin) {
        if (bin < kExact) return bin;
        return (64 + (bin - kExact) % 64) << (kExactBits - 6 + (bin - kExact) / 64);
    }
    // For sizes up to `most`; one bin stays empty behind the last.
    static u32 bins_for(u64 most) { return bin_of(most) + 2; }
    static u64 words_for(u64 most) { return (bins_for(most) + 63) / 64; }
    // Bytes of both tables, a multiple of 8.
    static u64 bytes_for(u64 most) {
        return words_for(most) * 8 + round_up(bins_for(most), 2) * sizeof(u32);
    }

    // `memory`: bytes_for(most), zeroed. `number_bits`: all numbers of nodes are below 2^that.
    void attach(Ranges ranges, void* memory, u64 most, unsigned number_bits) {
        ranges_ = ranges;
        words_ = static_cast<u64*>(memory);
        heads_ = reinterpret_cast<u32*>(words_ + words_for(most));
        bins_ = bins_for(most);
        number_bits_ = number_bits;
        top_[0] = top_[1] = 0;
    }

    // The node of the smallest size that is `size` at least; among equals of one bin the
    // latest. 0: there is none. 1 <= size <= most.
    u32 find(u64 size) const {
        u32 bin = bin_of(size);
        if (size >= kExact) [[unlikely]] {
            if (const u32 found = tree().at_least(heads_[bin], key(size, 0), bits_of(size)))
                return found;
            ++bin;
        }
        return best_of(first_from(bin));
    }
    // The same for a size below kExact, if the best is, too: its bin, which is its size.
    // kExact or above: find() knows.
    u32 find_exact(u32 size) const { return first_from(size); }
    // The latest of a size that find_exact() answered.
    u32 head(u32 size) const { return heads_[size]; }

    // The greatest of all. 0: there is none.
    u32 greatest() const {
        const unsigned half = top_[1] != 0;
        if (top_[half] == 0) return 0;
        const u32 word = half * 64 + highest_bit(top_[half]);
        const u32 bin = word * 64 + highest_bit(words_[word]);
        Steps::step();
        return bin < kExact ? heads_[bin] : tree().greatest(heads_[bin]);
    }

    // fn(node) for some of the best, at most `most`, best sizes first, until it says true;
    // answers that node, or 0. Of the bins of many sizes one node each.
    template <typename Fn>
    u32 first_of(u64 size, unsigned most, Fn&& fn) const {
        u32 node = find(size);
        while (node && most-- > 0) {
            Steps::step();
            if (fn(node)) return node;
            const u64 here = ranges_.size_of(node);
            if (here < kExact && ranges_.link(node)[1]) {
                node = ranges_.link(node)[1];
                continue;
            }
            node = best_of(first_from(bin_of(here) + 1));
        }
        return 0;
    }

    void insert(u32 node, u64 size) {
        const u32 bin = bin_of(size);
        u32& head = heads_[bin];
        Steps::step();
        if (bin < kExact) [[likely]] {
            u32* const link = ranges_.link(node);
            link[0] = 0;
            link[1] = head;
            ranges_.link(head)[0] = node;
            head = node;
        } else {
            tree().insert(tree().locate(&head, key(size, node), bits_of(size)), node);
        }
        mark(bin);
    }

    void remove(u32 node, u64 size) {
        const u32 bin = bin_of(size);
        u32& head = heads_[bin];
        Steps::step();
        if (bin < kExact) [[likely]] {
            const u32* const link = ranges_.link(node);
            u32* const before = link[0] ? &ranges_.link(link[0])[1] : &head;
            *before = link[1];
            ranges_.link(link[1])[0] = link[0];
        } else {
            tree().remove(tree().locate(&head, key(size, node), bits_of(size)));
        }
        if (head == 0) unmark(bin);
    }

    // The same for a size below kExact, without a branch that depends on `really`: size 0 and
    // bin 0 stand for nothing to do, and what is written for them is never read.
    void insert_if(bool really, u32 node, u32 size) {
        Steps::step();
        u32* const link = ranges_.link(node);
        link[0] = 0;
        link[1] = heads_[size];
        ranges_.link(heads_[size])[0] = node;
        heads_[size] = node;
        words_[size / 64] |= u64{really} << (size % 64);
        top_[0] |= u64{really} << (size / 64);
    }
    void remove_if(bool really, u32 node, u32 size) {
        Steps::step();
        const u32* const link = ranges_.link(node);
        const u32 mask = 0u - u32{really};
        const u32 prev = link[0] & mask;
        const u32 next = link[1] & mask;
        u32* const before = prev ? &ranges_.link(prev)[1] : &heads_[size];
        *before = next;
        ranges_.link(next)[0] = prev;
        u64& word = words_[size / 64];
        word &= ~(u64{really && (prev | next) == 0} << (size % 64));
        if (word == 0) top_[0] &= ~(u64{1} << (size / 64));
    }

    // fn(node, bin) for every node, at most `most` of them. False: a bitmap lies, a list or a
    // tree is torn, or there are more.
    template <typename Fn>
    bool for_each(u64 most, Fn&& fn) const {
        u64 seen = 0;
        for (u32 first = 0; first < bins_; first += 64) {
            const u32 w = first / 64;
            const u32 end = first + 64 < bins_ ? first + 64 : bins_;
            if ((top_[w / 64] >> (w % 64) & 1) != (words_[w] != 0)) return false;
            u32 any = 0;
            for (u32 bin = first; bin < end; ++bin) any |= heads_[bin];
            if (any == 0 && words_[w] == 0) continue;
            for (u32 bin = first; bin < end; ++bin) {
                if (bin == 0 && !(words_[0] & 1)) continue;  // insert_if's
                if ((words_[w] >> (bin - first) & 1) != (heads_[bin] != 0)) return false;
                if (!(bin < kExact ? list(bin, seen, most, fn) : many(bin, seen, most, fn)))
                    return false;
            }
        }
        return seen <= most;
    }

    // fn(least size, nodes) for each bin that is not empty, smallest first; `most` as above.
    template <typename Fn>
    void for_each_bin(u64 most, Fn&& fn) const {
        u32 last = 0;
        u64 nodes = 0;
        for_each(most, [&](u32, u32 bin) {
            if (bin != last && nodes) fn(least_of(last), nodes);
            nodes = bin == last ? nodes + 1 : 1;
            last = bin;
        });
        if (nodes) fn(least_of(last), nodes);
    }

    // Most nodes of one way down a tree, for sizes up to `most`.
    static unsigned depth_for(u64 most, unsigned number_bits) {
        return most < kExact ? 0 : highest_bit(most) - 6 + number_bits + 1;
    }

private:
    static constexpr u32 kNoBin = ~u32{0};

    // A bin's tree tells its nodes apart by the bits of the size below the bin's own, then
    // by their numbers.
    __extension__ typedef unsigned __int128 Wide;
    struct View {
        using Key = Wide;
        const Ranges& ranges;
        unsigned number_bits;

        Key key(u32 node) const { return Wide{ranges.size_of(node)} << number_bits | node; }
        u32* kids(u32 node) const { return ranges.link(node); }
    };
    using Tree = DigitalTree<View, Steps>;

    Tree tree() const { return Tree(View{ranges_, number_bits_}); }
    Wide key(u64 size, u32 node) const { return Wide{size} << number_bits_ | node; }
    unsigned bits_of(u64 size) const { return highest_bit(size) - 6 + number_bits_; }

    u32 best_of(u32 bin) const {
        if (bin == kNoBin) return 0;
        Steps::step();
        return bin < kExact ? heads_[bin] : tree().least(heads_[bin]);
    }

    template <typename Fn>
    bool list(u32 bin, u64& seen, u64 most, Fn&& fn) const {
        u32 before = 0;
        for (u32 node = heads_[bin]; node; node = ranges_.link(node)[1]) {
            if (++seen > most || ranges_.link(node)[0] != before) return false;
            fn(node, bin);
            before = node;
        }
        return true;
    }
    template <typename Fn>
    bool many(u32 bin, u64& seen, u64 most, Fn&& fn) const {
        const unsigned e = kExactBits + (bin - kExact) / 64;
        return tree().for_each(heads_[bin], e - 6 + number_bits_, [&](u32 node) {
            if (++seen <= most) fn(node, bin);
        });
    }

    u32 first_from(u32 bin) const {
        u32 word = bin / 64;
        Steps::step();
        u64 some = words_[word] >> (bin % 64);
        if (some != 0) return bin + lowest_bit(some);
        ++word;
        Steps::step();
        some = word < 64 ? top_[0] >> word : 0;
        if (some != 0) {
            word += lowest_bit(some);
        } else {
            some = word <= 64 ? top_[1] : top_[1] >> (word - 64);
            if (some == 0) return kNoBin;
            word = (word <= 64 ? 64 : word) + lowest_bit(some);
        }
        Steps::step();
        return word * 64 + lowest_bit(words_[word]);
    }
    void mark(u32 bin) {
        words_[bin / 64] |= u64{1} << (bin % 64);
        top_[bin / 4096] |= u64{1} << (bin / 64 % 64);
    }
    void unmark(u32 bin) {
        u64& word = words_[bin / 64];
        word &= ~(u64{1} << (bin % 64));
        if (word == 0) top_[bin / 4096] &= ~(u64{1} << (bin / 64 % 64));
    }

    Ranges ranges_{};
    u64* words_ = nullptr;
    u32* heads_ = nullptr;
    u64 top_[2] = {};
    u32 bins_ = 0;
    unsigned number_bits_ = 0;
};

}  // namespace quarry
