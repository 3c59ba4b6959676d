// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// An intrusive queue of many producers and one consumer at a time: a push is two
// stores and one xchg, wait-free, in any context down to NMI; the consumer holds a
// lock of its own. (D. Vyukov's intrusive node queue; the same shape as the kernel's
// MCS hand-over.)
//
// States of the words
//   tail_       producers xchg it to their node      acq_rel   pairs with each other
//   node.next   the producer of the *next* node
//               stores it, once                      release   pairs with pop's acquire
//   head_       the consumer; anyone reads it as a hint   relaxed
//
// A producer stopped between its xchg and its link hides what was pushed after it,
// until it goes on: pop then answers null, as for an empty queue. Nothing is lost.
// A node may be pushed again as soon as pop has returned it.
#pragma once

#include <atomic>

namespace quarry {

struct QueueNode {
    std::atomic<QueueNode*> next{nullptr};
};

class WaitFreeQueue {
public:
    WaitFreeQueue() : head_(&dummy_), tail_(&dummy_) {}
    WaitFreeQueue(const WaitFreeQueue&) = delete;
    WaitFreeQueue& operator=(const WaitFreeQueue&) = delete;

    void push(QueueNode& node) {
        node.next.store(nullptr, std::memory_order_relaxed);
        QueueNode* before = tail_.exchange(&node, std::memory_order_acq_rel);
        before->next.store(&node, std::memory_order_release);
    }

    // Null: empty, or the oldest push is not finished yet.
    QueueNode* pop() {
        QueueNode* node = head();
        QueueNode* next = node->next.load(std::memory_order_acquire);
        if (node == &dummy_) {
            if (!next) return nullptr;
            set_head(node = next);
            next = node->next.load(std::memory_order_acquire);
        }
        if (next) {
            set_head(next);
            return node;
        }
        // `node` is the last one: put the dummy behind it, so that it can leave.
        if (tail_.load(std::memory_order_acquire) != node) return nullptr;
        push(dummy_);
        next = node->next.load(std::memory_order_acquire);
        if (!next) return nullptr;
        set_head(next);
        return node;
    }

    // A hint, for anyone: no push has begun since the last pop emptied it.
    bool looks_empty() const {
        return tail_.load(std::memory_order_relaxed) == &dummy_ && head() == &dummy_;
    }

private:
    QueueNode* head() const { return head_.load(std::memory_order_relaxed); }
    void set_head(QueueNode* node) { head_.store(node, std::memory_order_relaxed); }

    std::atomic<QueueNode*> head_;
    alignas(64) std::atomic<QueueNode*> tail_;
    QueueNode dummy_;
};

}  // namespace quarry
