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
    static constexpr u32 kNoBin = ~u32{0};
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
    [[gnu::always_inline]] u32 find(u64 size) const {
        if (size < kExact) [[likely]] {
            Steps::step();
            const u64 some = words_[size / 64] >> (size % 64);
            if (some != 0) [[likely]] return heads_[size + lowest_bit(some)];
        }
        return find_slow(size);
    }

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

    [[gnu::always_inline]] void insert(u32 node, u64 size) {
        if (size >= kExact) [[unlikely]] return insert_many(node, size);
        Steps::step();
        u32& head = heads_[size];
        u32* const link = ranges_.link(node);
        link[0] = 0;
        link[1] = head;
        ranges_.link(head)[0] = node;
        head = node;
        words_[size / 64] |= u64{1} << (size % 64);
        top_[0] |= u64{1} << (size / 64);
    }
    [[gnu::always_inline]] void remove(u32 node, u64 size) {
        if (size >= kExact) [[unlikely]] return remove_many(node, size);
        Steps::step();
        u32& head = heads_[size];
        const u32* const link = ranges_.link(node);
        const u32 next = link[1];
        ranges_.link(next)[0] = link[0];
        *(link[0] ? &ranges_.link(link[0])[1] : &head) = next;
        // Whether it was the last is as good as random: no branch depends on it.
        u64& word = words_[size / 64];
        word &= ~(u64{head == 0} << (size % 64));
        top_[0] &= ~(u64{word == 0} << (size / 64));
    }

    // fn(least size, nodes) for each bin that is not empty, smallest first. O(nodes + bins).
    template <typename Fn>
    void for_each_bin(Fn&& fn) const {
        for (u32 bin = first_from(0); bin != kNoBin; bin = first_from(bin + 1)) {
            u64 nodes = 0;
            for (u32 node = first_in(bin); node; node = next_in(bin, node)) ++nodes;
            fn(least_of(bin), nodes);
        }
    }

    // ---- for the audit: all nodes in the order of bins, in steps ----

    u32 words() const { return (bins_ + 63) / 64; }
    // Do the bitmaps say which of this word's 64 bins are not empty?
    bool word_good(u32 w) const {
        u64 some = 0;
        for (u32 bin = w * 64; bin < bins_ && bin < w * 64 + 64; ++bin)
            some |= u64{heads_[bin] != 0} << (bin % 64);
        return words_[w] == some && (top_[w / 64] >> (w % 64) & 1) == (some != 0);
    }
    // The first bin from `bin` on that is not empty, below the end of its word; or kNoBin.
    u32 next_bin(u32 bin) const {
        const u64 some = words_[bin / 64] >> (bin % 64);
        return some ? bin + lowest_bit(some) : kNoBin;
    }
    // The nodes of a bin: the first, the one behind `node`. 0: there is none.
    u32 first_in(u32 bin) const {
        if (bin < kExact) return heads_[bin];
        const u64 least = least_of(bin);
        return tree().at_least(heads_[bin], key(least, 0), bits_of(least));
    }
    u32 next_in(u32 bin, u32 node) const {
        if (bin < kExact) return ranges_.link(node)[1];
        const u64 size = ranges_.size_of(node);
        const Wide behind = key(size, node) + 1;
        if (behind >> bits_of(size) != key(size, node) >> bits_of(size)) return 0;
        return tree().at_least(heads_[bin], behind, bits_of(size));
    }
    // Is `node`, which is of this bin by its size, where it belongs behind `before`, which
    // is 0 or the one before it?
    bool in_order(u32 bin, u32 before, u32 node) const {
        if (bin < kExact) return ranges_.link(node)[0] == before;
        return before == 0 ||
               key(ranges_.size_of(before), before) < key(ranges_.size_of(node), node);
    }

    // Most nodes of one way down a tree, for sizes up to `most`.
    static unsigned depth_for(u64 most, unsigned number_bits) {
        return most < kExact ? 0 : highest_bit(most) - 6 + number_bits + 1;
    }

private:

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
    [[gnu::noinline]] u32 find_slow(u64 size) const {
        u32 bin = bin_of(size);
        if (size >= kExact) {
            if (const u32 found = tree().at_least(heads_[bin], key(size, 0), bits_of(size)))
                return found;
            ++bin;
        }
        return best_of(first_from(bin));
    }
    [[gnu::noinline]] void insert_many(u32 node, u64 size) {
        const u32 bin = bin_of(size);
        Steps::step();
        tree().insert(tree().locate(&heads_[bin], key(size, node), bits_of(size)), node);
        words_[bin / 64] |= u64{1} << (bin % 64);
        top_[bin / 4096] |= u64{1} << (bin / 64 % 64);
    }
    [[gnu::noinline]] void remove_many(u32 node, u64 size) {
        const u32 bin = bin_of(size);
        Steps::step();
        tree().remove(tree().locate(&heads_[bin], key(size, node), bits_of(size)));
        if (heads_[bin] != 0) return;
        words_[bin / 64] &= ~(u64{1} << (bin % 64));
        if (words_[bin / 64] == 0) top_[bin / 4096] &= ~(u64{1} << (bin / 64 % 64));
    }

    Ranges ranges_{};
    u64* words_ = nullptr;
    u32* heads_ = nullptr;
    u64 top_[2] = {};
    u32 bins_ = 0;
    unsigned number_bits_ = 0;
};

}  // namespace quarry
