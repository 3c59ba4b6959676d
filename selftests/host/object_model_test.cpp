// SPDX-License-Identifier: MIT
//
// ObjectCache against a model: every short sequence of steps, and a long random one, with
// refused hooks, wrong pointers and failing factories between; verify after each step.
#include "object_hooks.hpp"
#include "variant.hpp"

#include <optional>
#include <random>
#include <set>
#include <vector>

namespace quarry {
namespace {

using HostLock = PlatformLock<HostPlatform, QUARRY_LOCK_PAGES>;

// Two to a slab, so that every edge of a slab is near.
struct Half {
    explicit Half(u64 value) : value(value) {}
    u64 value;
    char rest[2040];
};
static_assert(sizeof(Half) == 2048);

// What should be: objects by value and place, raw ones apart.
template <typename T, typename Lock = HostLock>
class Model {
public:
    using Cache = ObjectCache<T, Lock, 4096>;

    explicit Model(u64 capacity = kUnbounded) : capacity_(capacity) {
        handles_.push_back(*Cache::create(capacity));
    }

    // Answers whether an object was made; it must be, unless a hook refused or it is full.
    bool make(Cache& cache, bool refused) {
        auto made = cache.make(next_);
        const Error e = made.error();
        if (live() == capacity_) {
            EXPECT_EQ(e, Error::pool_full);
        } else if (!refused) {
            EXPECT_EQ(e, Error::none);
        } else if (!ok(e)) {
            EXPECT_EQ(e, Error::no_memory);
        }
        if (!made) return false;
        EXPECT_TRUE(places_.insert(made->get()).second) << "given out twice";
        boxes_.push_back({*std::move(made), next_++});
        return true;
    }
    void fail(Cache& cache, bool refused) {
        const Error e = cache.make_with([](void*) { return Error::shutdown; }).error();
        if (refused && e == Error::no_memory) return;
        EXPECT_EQ(e, live() == capacity_ ? Error::pool_full : Error::shutdown);
    }
    void drop(std::size_t i) {
        EXPECT_EQ(boxes_[i].box->value, boxes_[i].value);
        places_.erase(boxes_[i].box.get());
        boxes_[i] = std::move(boxes_.back());
        boxes_.pop_back();
    }
    void release(std::size_t i) {
        raws_.push_back({boxes_[i].box.release(), boxes_[i].value});
        boxes_[i] = std::move(boxes_.back());
        boxes_.pop_back();
    }
    void adopt(Cache& cache, std::size_t i) {
        auto made = cache.adopt(raws_[i].object);
        ASSERT_TRUE(made);
        EXPECT_EQ((*made)->value, raws_[i].value);
        boxes_.push_back({*std::move(made), raws_[i].value});
        raws_[i] = raws_.back();
        raws_.pop_back();
    }
    // Any place of any slab, and what lies around them.
    void adopt_wrongly(Cache& cache, std::mt19937& random) {
        char* near = boxes_.empty() ? reinterpret_cast<char*>(this)
                                    : reinterpret_cast<char*>(boxes_[random() % boxes_.size()].box.get());
        T* wrong = reinterpret_cast<T*>(near + static_cast<long>(random() % 8192) - 4096);
        for (const Raw& raw : raws_)
            if (raw.object == wrong) return;
        const Error e = cache.adopt(wrong).error();
        if (places_.count(wrong)) {
            EXPECT_EQ(e, Error::not_owner);
        } else {
            EXPECT_TRUE(e == Error::invalid_pointer || e == Error::already_free);
        }
    }

    void check() {
        ObjectHooks& hooks = ObjectHooks::get();
        if (handles_.empty()) {
            EXPECT_EQ(hooks.nothing_is_out(), live() == 0);
            return;
        }
        Cache& cache = handles_.front();
        Audit audit;
        cache.verify(audit);
        ASSERT_TRUE(audit.clean()) << audit.result().first;
        ASSERT_EQ(cache.live(), live());
        ASSERT_EQ(cache.handles(), handles_.size());
        ASSERT_EQ(cache.slabs(), hooks.slab_count());
        ASSERT_EQ(cache.strays(), 0u);
        std::set<void*> used;
        for (const auto& box : boxes_) used.insert(hooks.slab_of(box.box.get()));
        for (const auto& raw : raws_) used.insert(hooks.slab_of(raw.object));
        ASSERT_FALSE(used.count(nullptr));
        ASSERT_LE(cache.slabs(), used.size() + 1) << "more than one empty slab";
    }

    u64 live() const { return boxes_.size() + raws_.size(); }
    u64 capacity() const { return capacity_; }
    std::vector<Cache>& handles() { return handles_; }
    std::size_t boxes() const { return boxes_.size(); }
    std::size_t raws() const { return raws_.size(); }

private:
    struct Boxed {
        typename Cache::Box box;
        u64 value;
    };
    struct Raw {
        T* object;
        u64 value;
    };
    u64 capacity_;
    u64 next_ = 1;
    std::vector<Cache> handles_;
    std::vector<Boxed> boxes_;
    std::vector<Raw> raws_;
    std::set<T*> places_;
};

using ObjectModelTest = ObjectTest;

// Steps: make; drop the first, the second, the last; release the first and adopt it again;
// shrink; drop the handle (then only drops are left).
TEST_F(ObjectModelTest, EveryShortSequenceOfStepsEndsWhereItShould) {
    constexpr u32 kSteps = by_variant(6, 5, 5);
    constexpr u32 kKinds = 7;
    u32 sequences = 1;
    for (u32 i = 0; i < kSteps; ++i) sequences *= kKinds;
    for (u32 code = 0; code < sequences; ++code) {
        // Starts that differ: from no object to three.
        Model<Half> model;
        for (u32 i = 0; i < code % 4; ++i) ASSERT_TRUE(model.make(model.handles()[0], false));
        for (u32 i = 0, rest = code; i < kSteps; ++i, rest /= kKinds) {
            const u32 kind = rest % kKinds;
            const bool handle = !model.handles().empty();
            if (kind == 0 && handle) model.make(model.handles()[0], false);
            if (kind == 1 && model.boxes() > 0) model.drop(0);
            if (kind == 2 && model.boxes() > 1) model.drop(1);
            if (kind == 3 && model.boxes() > 2) model.drop(model.boxes() - 1);
            if (kind == 4 && handle && model.boxes() > 0) {
                model.release(0);
                model.check();
                model.adopt(model.handles()[0], 0);
            }
            if (kind == 5 && handle) model.handles()[0].shrink();
            if (kind == 6) model.handles().clear();
            model.check();
            ASSERT_FALSE(HasFatalFailure()) << "sequence " << code;
        }
        ASSERT_FALSE(HasFailure()) << "sequence " << code;
    }
    EXPECT_TRUE(hooks.nothing_is_out());
}

template <typename T>
void long_stream(ObjectHooks& hooks, u32 steps, u32 seed, u64 capacity) {
    Model<T> model(capacity);
    auto& handles = model.handles();
    std::mt19937 random(seed);
    u64 refused = 0;
    u64 full = 0;
    for (u32 step = 0; step < steps; ++step) {
        auto& cache = handles[random() % handles.size()];
        // Grows and shrinks in waves.
        const bool up = step / 500 % 2 == 0;
        switch (random() % 16) {
        case 0: hooks.refuse_slab = 1 + random() % 2; break;
        case 1: hooks.refuse_meta = 1 + random() % 2; break;
        case 2: model.fail(cache, hooks.refuse_slab || hooks.refuse_meta); break;
        case 3:
            if (model.boxes()) model.release(random() % model.boxes());
            break;
        case 4:
        case 5:
            if (model.raws()) model.adopt(cache, random() % model.raws());
            break;
        case 6: model.adopt_wrongly(cache, random); break;
        case 7:
            if (random() % 2 && handles.size() > 1)
                handles.pop_back();
            else if (handles.size() < 8)
                handles.push_back(handles.front());
            break;
        case 8:
            if (random() % 8 == 0) cache.shrink();
            break;
        default:
            if (random() % 3 != 0 ? up : !up) {
                full += model.live() == model.capacity();
                refused += !model.make(cache, hooks.refuse_slab || hooks.refuse_meta);
            } else if (model.boxes()) {
                model.drop(random() % model.boxes());
            }
        }
        if (random() % 4 == 0) hooks.refuse_slab = hooks.refuse_meta = 0;
        model.check();
        ASSERT_FALSE(::testing::Test::HasFailure()) << "step " << step;
    }
    if (model.handles()[0].kSlots == 2) {
        EXPECT_GT(refused, full) << "no hook refused";
    }
    if (capacity != kUnbounded) {
        EXPECT_GT(full, 0u);
    }
    // Raw objects go home before the handles.
    hooks.refuse_slab = hooks.refuse_meta = 0;
    while (model.raws()) model.adopt(handles.front(), 0);
    handles.clear();
    while (model.boxes()) model.drop(random() % model.boxes());
}

struct Small {
    explicit Small(u64 value) : value(value) {}
    u64 value;
    char rest[248];
};
struct Odd {
    explicit Odd(u64 value) : value(value) {}
    u64 value;
    char rest[32];
};

constexpr u32 kLong = QUARRY_HOST_TSAN ? 5'000 : 40'000;

TEST_F(ObjectModelTest, ALongRandomStreamOfTwoToASlab) { long_stream<Half>(hooks, kLong, 1, kUnbounded); }
TEST_F(ObjectModelTest, ALongRandomStreamOf102ToASlab) { long_stream<Odd>(hooks, kLong, 2, kUnbounded); }
TEST_F(ObjectModelTest, ALongRandomStreamOf16ToASlab) { long_stream<Small>(hooks, kLong, 3, kUnbounded); }
TEST_F(ObjectModelTest, ALongRandomStreamWithACapacity) { long_stream<Half>(hooks, kLong, 4, 9); }

}  // namespace
}  // namespace quarry
