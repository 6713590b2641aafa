// A spiking layer over a whole window, from its initial membrane: each current is read once, each spike written once. An
// integrator writes its membranes in place of spikes.
//
//     current [T, ...] -> spikes [T, ...]                               one thread for WIDTH neurons side by side
//     current [T, planes, H, W] -> pooled spikes [T, planes, H/k, W/k]  one thread for the k x k neurons of a maximum
//
// The equations, and the order in which they round, are those of `tcja_runtime.neuron.NeuronSpec`. The membrane is a
// float32 in a register, for float32 and for float16 currents. No product may be contracted with a sum (--fmad=false).
//
// `tcja_runtime.tensorrt.plugin.kernel` writes definitions before this text: Io (float, or unsigned short for the bits
// of a half), HALF (1 or 0), CHARGE, RESET, STRICT, MEMBRANES (1 for an integrator), DIVIDES (1 or 0), DECAY, GAIN,
// BIAS, THRESHOLD, V_RESET, V_INITIAL, V_REST, RATE, TAU, SLOPE (floats in hexadecimal, which is exact), RECTIFIES and
// RESCALES (1 or 0), WIDTH, POOL (k, or 1), AHEAD, TRACED (1 if the membranes before firing are written, too) and
// KERNEL (the name of the function).
//
// A thread reads the currents of AHEAD time steps before it computes the first of these steps. Memory is slow, and a
// small layer has too few threads to use the waiting time for other work.

#define LINEAR 0
#define DECAYED 1
#define LEAKY 2

#define HARD 0
#define SOFT 1
#define LATE 2
#define REFRACTORY 3
#define NONE 4

#if HALF
#define ONE ((Io)0x3c00)
#ifdef __CUDACC__
static __device__ float widened(Io bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}
#endif
#else
#define ONE 1.0f
static __device__ float widened(Io value) { return value; }
#endif

#if CHARGE != LINEAR
static __device__ float leak(float u) {
#if DIVIDES
    return u / TAU;
#else
    return u * RATE;
#endif
}
#endif

struct Neuron {
    float v = V_INITIAL;  // v_{t-1}
    bool fired = false;   // s_{t-1}

    // Computes a time step: returns h_t, and sets fired to s_t.
    __device__ float step(float x) {
#if CHARGE == LINEAR
        float h = v * DECAY + x * GAIN + BIAS;
#if RESET == LATE
        h = fired ? h - THRESHOLD : h;
#elif RESET == REFRACTORY
        h = fired ? 0.0f : h;
#endif
#elif CHARGE == DECAYED
        float h = v + leak(x - (v - V_REST));
#else
        float h = v - leak(v - V_REST) + x;
#endif

#if RECTIFIES
        h = h * SLOPE;
        h = h > 0.0f ? h : 0.0f;
#endif

#if STRICT
        fired = h > THRESHOLD;
#else
        fired = h >= THRESHOLD;
#endif

#if RESCALES
        const float kept = h / SLOPE, taken = THRESHOLD / SLOPE;
#else
        const float kept = h, taken = THRESHOLD;
#endif
        (void)taken;

#if RESET == HARD
        v = fired ? V_RESET : kept;
#elif RESET == SOFT
        v = fired ? kept - taken : kept;
#else
        v = kept;
#endif
        return h;
    }
};

// WIDTH adjacent values, aligned, so that a thread reads or writes them in one access to memory.
template <typename Value>
struct alignas(WIDTH * sizeof(Value)) Group {
    Value of[WIDTH];
};

#if POOL == 1

// steps: T; neurons: the number of neurons of one time step, a multiple of WIDTH.
extern "C" __global__ void KERNEL(const Io* __restrict__ current, int steps, int neurons, Io* __restrict__ spikes
#if TRACED
                                  , float* __restrict__ membranes
#endif
) {
    const long long at = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * WIDTH;
    if (at >= neurons) return;
    Neuron neuron[WIDTH];
    for (int t = 0; t < steps; t += AHEAD) {
        Group<Io> x[AHEAD];
#pragma unroll
        for (int a = 0; a < AHEAD; ++a)
            if (t + a < steps) x[a] = *reinterpret_cast<const Group<Io>*>(current + (long long)(t + a) * neurons + at);
#pragma unroll
        for (int a = 0; a < AHEAD; ++a) {
            if (t + a >= steps) break;
            const long long here = (long long)(t + a) * neurons + at;
            Group<Io> s;
#pragma unroll
            for (int i = 0; i < WIDTH; ++i) {
                const float h = neuron[i].step(widened(x[a].of[i]));
#if MEMBRANES
                s.of[i] = h;
#else
                s.of[i] = neuron[i].fired ? ONE : (Io)0;
#endif
#if TRACED
                membranes[here + i] = h;
#endif
                (void)h;
            }
            *reinterpret_cast<Group<Io>*>(spikes + here) = s;
        }
    }
}

#else

// steps: T; planes: N*C planes of height x width neurons. As in MaxPool, neurons in no whole k x k square are left out.
// WIDTH divides k and the width.
extern "C" __global__ void KERNEL(const Io* __restrict__ current, int steps, int planes, int height, int width,
                                  Io* __restrict__ spikes
#if TRACED
                                  , float* __restrict__ membranes
#endif
) {
    const int rows = height / POOL, columns = width / POOL;
    const long long outputs = (long long)planes * rows * columns;
    const long long output = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (output >= outputs) return;
    const long long line = output / columns;  // plane * rows + row
    const long long at = ((line / rows) * height + line % rows * POOL) * width + output % columns * POOL;
    const long long neurons = (long long)planes * height * width;
    Neuron neuron[POOL * POOL];
    for (int t = 0; t < steps; t += AHEAD) {
        Group<Io> x[AHEAD][POOL * POOL / WIDTH];
#pragma unroll
        for (int a = 0; a < AHEAD; ++a)
#pragma unroll
            for (int g = 0; g < POOL * POOL / WIDTH; ++g) {
                const int row = g * WIDTH / POOL, column = g * WIDTH % POOL;
                const Io* from = current + (t + a) * neurons + at + row * width + column;
                if (t + a < steps) x[a][g] = *reinterpret_cast<const Group<Io>*>(from);
            }
#pragma unroll
        for (int a = 0; a < AHEAD; ++a) {
            if (t + a >= steps) break;
            bool any = false;
#pragma unroll
            for (int i = 0; i < POOL * POOL; ++i) {
                const float h = neuron[i].step(widened(x[a][i / WIDTH].of[i % WIDTH]));
                any |= neuron[i].fired;
#if TRACED
                membranes[(t + a) * neurons + at + i / POOL * width + i % POOL] = h;
#endif
                (void)h;
            }
            spikes[(t + a) * outputs + output] = any ? ONE : (Io)0;
        }
    }
}

#endif
