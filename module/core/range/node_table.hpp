// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// The nodes of all ranges, live and free, by offset: where a node lies says where its range
// starts, so that a look-up by offset mostly reads one cache line, and the neighbours of a
// range are in it or beside it.
//
// The offset space is cut into buckets, a power of two of granules wide, at most one for each
// range that can be live. Each bucket is home to four nodes (one cache line with u32). What
// finds its home full goes to the overflow, which has room for all nodes there can be; such
// nodes of one bucket are a digital tree by start. A summary of bitmaps says which buckets
// hold any node. What starts behind the last bucket (grow_capacity) is a tree, too.
//
//   nodes    0..3  the sentinel, the dump, two that are never used
//            4..   the overflow
//            then  the homes, four a bucket
//
// A node keeps its number as long as its range keeps its start. Costs: find, make, drop: one
// home; where that is full, the depth of the tree, twice at most: the bits of a bucket's width,
// plus one, at worst; and one word a level of the summary, mostly one in all. at_most: the
// same and two words a level. One caller at a time.
#pragma once

#include "bit_tree.hpp"
#include "digital_tree.hpp"
#include "range_node.hpp"

namespace quarry {

template <typename Word, typename Steps>
class NodeTable {
public:
    using Node = RangeNode<Word>;
    static constexpr u32 kDump = 1;

    struct Layout {
        unsigned shift;   // a bucket is 2^shift granules
        u64 buckets;      // without the one behind
        u64 overflow;     // nodes, all that ranges can have

        u64 overflow_end() const { return 4 + round_up(overflow, 4); }
        u64 nodes() const { return overflow_end() + 4 * buckets; }
        u64 kids_at() const { return nodes() * sizeof(Node); }
        u64 stack_at() const { return kids_at() + overflow_end() * 2 * sizeof(u32); }
        u64 heads_at() const { return stack_at() + overflow_end() * sizeof(u32); }
        u64 words_at() const { return heads_at() + round_up(buckets + 1, 2) * sizeof(u32); }
        u64 bytes() const { return words_at() + Levels::words_for(buckets + 1) * sizeof(u64); }
    };
    // For `granules` of offset space, `live` ranges at most. Both above 0.
    static Layout layout(u64 granules, u64 live) {
        unsigned shift = 2;
        while (((granules - 1) >> shift) + 1 > live && shift < 62) ++shift;
        return {shift, ((granules - 1) >> shift) + 1, 2 * live + 1};
    }

    // `memory`: layout.bytes(). Granules are below 2^bits.
    void attach(void* memory, const Layout& l, unsigned bits) {
        auto* bytes = static_cast<char*>(memory);
        layout_ = l;
        bits_ = bits;
        homes_ = static_cast<u32>(l.overflow_end());
        nodes_ = static_cast<Node*>(memory);
        kids_ = reinterpret_cast<u32(*)[2]>(bytes + l.kids_at());
        stack_ = reinterpret_cast<u32*>(bytes + l.stack_at());
        heads_ = reinterpret_cast<u32*>(bytes + l.heads_at());
        full_.attach(reinterpret_cast<u64*>(bytes + l.words_at()), l.buckets + 1);
    }
    // No range at all. O(nodes).
    void clear() {
        for (u64 i = 0; i < layout_.nodes(); ++i) nodes_[i] = {Node::kNowhere, 0, 0, 0};
        nodes_[0].word = nodes_[2].word = nodes_[3].word = 1;
        for (u64 b = 0; b <= layout_.buckets; ++b) {
            heads_[b] = 0;
            full_.clear(b);
        }
        unused_ = 0;
        for (u32 i = static_cast<u32>(layout_.overflow); i-- > 0;) stack_[unused_++] = 4 + i;
    }
    // Granules are below 2^bits from now on: the tree behind the last bucket is built anew.
    // O(nodes in it).
    void widen(unsigned bits) {
        const u32 first = *head(layout_.buckets);
        bits_ = bits;
        if (first == 0) return;
        // All ranges from the first of them on are in it, in the order of offsets.
        u32 i = nodes_[0].prev;
        heads_[layout_.buckets] = 0;
        for (; i != 0 && bucket_of(nodes_[i].start) == layout_.buckets; i = nodes_[i].prev) {
            kids_[i][0] = kids_[i][1] = 0;
            grow_tree(layout_.buckets, i);
        }
    }

    Node& operator[](u32 i) { return nodes_[i]; }
    const Node& operator[](u32 i) const { return nodes_[i]; }
    // Numbers are below it.
    u64 count() const { return layout_.nodes(); }
    // Most nodes on one way down a tree.
    unsigned depth() const { return (bits_ > layout_.shift ? bits_ : layout_.shift) + 1; }

    // The node that starts at this granule, or 0.
    u32 find(u64 start) const {
        const u64 bucket = start >> layout_.shift;
        Steps::step();
        if (bucket < layout_.buckets) [[likely]] {
            const u32 home = home_of(bucket);
            const Node* const n = nodes_ + home;
            const Word at = static_cast<Word>(start);
            const u32 slot = (n[1].start == at) | (n[2].start == at) << 1 |
                             (n[3].start == at) * 3u;
            if (n[slot].start == at) [[likely]] return home + slot;
        }
        return *tree().locate(head(bucket), start, bits_of(bucket));
    }

    // An unused node for a range that starts here; its word and links are the caller's to set,
    // at once. Without `really` it is the dump, whose word is to be 0 again afterwards.
    u32 make(u64 start, bool really = true) {
        const u64 bucket = really ? bucket_of(start) : 0;
        Steps::step();
        if (bucket < layout_.buckets) [[likely]] {
            const u32 home = really ? home_of(bucket) : 0;
            const Node* const n = nodes_ + home;
            const unsigned empty = (n[0].word == 0) | (n[1].word == 0) << 1 |
                                   (n[2].word == 0) << 2 | (n[3].word == 0) << 3;
            if (empty != 0) [[likely]] {
                const u32 i = home + lowest_bit(empty);
                nodes_[i].start = static_cast<Word>(start);
                if (empty == 15) full_.set(bucket);
                return i;
            }
        }
        const u32 i = stack_[--unused_];
        nodes_[i].start = static_cast<Word>(start);
        kids_[i][0] = kids_[i][1] = 0;
        grow_tree(bucket, i);
        full_.set(bucket);
        return i;
    }

    // The node is unused. Without `really` it is the dump.
    void drop(u32 i) {
        Steps::step();
        const u32 home = i & ~3u;
        const u64 start = nodes_[i].start;
        if (i >= homes_ || i == kDump) [[likely]] {
            nodes_[i].word = 0;
            nodes_[i].start = Node::kNowhere;
            const Node* const n = nodes_ + home;
            if ((n[0].word | n[1].word | n[2].word | n[3].word) == 0) {
                const u64 bucket = (home - homes_) / 4;
                if (heads_[bucket] == 0) full_.clear(bucket);
            }
            return;
        }
        const u64 bucket = bucket_of(start);
        tree().remove(tree().locate(head(bucket), start, bits_of(bucket)));
        nodes_[i].word = 0;
        nodes_[i].start = Node::kNowhere;
        stack_[unused_++] = i;
        if (heads_[bucket] == 0 && (bucket == layout_.buckets || home_is_empty(bucket)))
            full_.clear(bucket);
    }

    // The node with the greatest start that is `granule` at most, or 0.
    u32 at_most(u64 granule) const {
        u64 bucket = bucket_of(granule);
        if (const u32 i = last_of(bucket, granule)) return i;
        if (bucket == 0) return 0;
        bucket = full_.at_most(bucket - 1);
        return bucket == Levels::kNone ? 0 : last_of(bucket, granule);
    }

    // For the audit: fn(node) for each in use. False: the summary, a tree or the stack of the
    // unused lies, or a node is where it does not belong.
    template <typename Fn>
    bool for_each(Fn&& fn) const {
        u64 overflown = 0;
        if (!(nodes_[0].word & nodes_[2].word & nodes_[3].word & 1) || nodes_[kDump].word != 0)
            return false;
        for (u64 b = 0; b <= layout_.buckets; ++b) {
            bool any = heads_[b] != 0;
            for (u32 k = 0; b < layout_.buckets && k < 4; ++k) {
                const Node& node = nodes_[home_of(b) + k];
                if (node.unused() != (node.start == Node::kNowhere)) return false;
                if (node.unused()) continue;
                if (bucket_of(node.start) != b) return false;
                any = true;
                fn(home_of(b) + k);
            }
            if (full_.has(b) != any) return false;
            bool good = true;
            if (!tree().for_each(heads_[b], bits_of(b), [&](u32 i) {
                    ++overflown;
                    good = good && i >= 4 && i < 4 + layout_.overflow && !nodes_[i].unused() &&
                           bucket_of(nodes_[i].start) == b;
                    if (good) fn(i);
                }) || !good)
                return false;
        }
        for (u32 k = 0; k < unused_; ++k) {
            const u32 i = stack_[k];
            if (i < 4 || i >= 4 + layout_.overflow || !nodes_[i].unused()) return false;
        }
        return overflown + unused_ == layout_.overflow && full_.consistent(layout_.buckets + 1);
    }

private:
    using Levels = BitTree<Steps>;
    struct View {
        using Key = u64;
        Node* nodes;
        u32 (*pairs)[2];

        u64 key(u32 node) const { return nodes[node].start; }
        u32* kids(u32 node) const { return pairs[node]; }
    };
    using Tree = DigitalTree<View, Steps>;

    Tree tree() const { return Tree(View{nodes_, kids_}); }
    u64 bucket_of(u64 granule) const {
        const u64 bucket = granule >> layout_.shift;
        return bucket < layout_.buckets ? bucket : layout_.buckets;
    }
    u32 home_of(u64 bucket) const { return homes_ + 4 * static_cast<u32>(bucket); }
    u32* head(u64 bucket) const {
        return &heads_[bucket < layout_.buckets ? bucket : layout_.buckets];
    }
    unsigned bits_of(u64 bucket) const { return bucket < layout_.buckets ? layout_.shift : bits_; }
    void grow_tree(u64 bucket, u32 i) {
        *tree().locate(head(bucket), nodes_[i].start, bits_of(bucket)) = i;
    }
    bool home_is_empty(u64 bucket) const {
        const Node* const n = nodes_ + home_of(bucket);
        return (n[0].word | n[1].word | n[2].word | n[3].word) == 0;
    }
    // The last in one bucket that starts at `granule` at most; the granule is in it or behind.
    u32 last_of(u64 bucket, u64 granule) const {
        Steps::step();
        u32 best = 0;
        for (u32 k = 0; bucket < layout_.buckets && k < 4; ++k) {
            const Node& node = nodes_[home_of(bucket) + k];
            if (!node.unused() && node.start <= granule &&
                (best == 0 || node.start > nodes_[best].start))
                best = home_of(bucket) + k;
        }
        if (heads_[bucket] == 0) return best;
        const u32 other = bucket == bucket_of(granule)
                              ? tree().at_most(heads_[bucket], granule, bits_of(bucket))
                              : tree().greatest(heads_[bucket]);
        if (other == 0) return best;
        return best == 0 || nodes_[other].start > nodes_[best].start ? other : best;
    }

    Layout layout_{};
    Node* nodes_ = nullptr;
    u32 (*kids_)[2] = nullptr;  // of the overflow
    u32* stack_ = nullptr;      // unused ones of it
    u32* heads_ = nullptr;      // roots of its trees, one a bucket and one behind
    u32 homes_ = 0;
    u32 unused_ = 0;
    unsigned bits_ = 0;
    Levels full_;
};

}  // namespace quarry
