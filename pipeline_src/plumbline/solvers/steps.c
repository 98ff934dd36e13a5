/* Steps of the schemes of exponential.py for Burgers' equation and Kolmogorov flow.

   A vector holds one number for each of LANES transforms, and every transform works on whole vectors.
   Transforms to the grid return values in digit-reversed order, in which transforms back to modes take them;
   the products between them do not depend on the order. Lengths have the prime factors 2, 3 and 5.

   _compiled.py compiles this file with REAL = float or double, SIZE = sizeof(REAL) and STAGE_CARRY, and calls
   burgers() and kolmogorov(). */

#include <string.h>

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif

enum { LANES = BYTES / sizeof(REAL) };
typedef REAL vec __attribute__((vector_size(BYTES)));
typedef struct { vec re, im; } cvec;

#define INLINE static inline __attribute__((always_inline))

int lanes(void) { return LANES; }

/* ---- Shuffles: LOW and HIGH interleave the halves of two vectors, HALVES swaps the halves of one. ---- */

#if BYTES / SIZE == 2
#define LOW 0, 2
#define HIGH 1, 3
#define HALVES 1, 0
#elif BYTES / SIZE == 4
#define LOW 0, 4, 1, 5
#define HIGH 2, 6, 3, 7
#define HALVES 2, 3, 0, 1
#elif BYTES / SIZE == 8
#define LOW 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH 4, 12, 5, 13, 6, 14, 7, 15
#define HALVES 4, 5, 6, 7, 0, 1, 2, 3
#else
#define LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#define HALVES 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7
#endif

#ifdef __clang__
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#if SIZE == 4
typedef int index_vec __attribute__((vector_size(BYTES)));
#else
typedef long long index_vec __attribute__((vector_size(BYTES)));
#endif
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (index_vec){__VA_ARGS__})
#endif

/* Transposes a LANES x LANES tile: each round rotates the bits of (row, lane) by one. */
INLINE void transpose(vec *rows) {
    vec turned[LANES];
    for (int round = 1; round < LANES; round *= 2) {
        for (int i = 0; i < LANES / 2; i++) {
            turned[2 * i] = SHUFFLE(rows[i], rows[i + LANES / 2], LOW);
            turned[2 * i + 1] = SHUFFLE(rows[i], rows[i + LANES / 2], HIGH);
        }
        memcpy(rows, turned, sizeof turned);
    }
}

/* ---- Complex arithmetic ---- */

INLINE cvec add(cvec a, cvec b) { return (cvec){a.re + b.re, a.im + b.im}; }
INLINE cvec sub(cvec a, cvec b) { return (cvec){a.re - b.re, a.im - b.im}; }
INLINE cvec conjugate(cvec a) { return (cvec){a.re, -a.im}; }
INLINE cvec turn(cvec a, int sign) { return sign > 0 ? (cvec){-a.im, a.re} : (cvec){a.im, -a.re}; }
/* u + w v for a real weight w of each lane. */
INLINE cvec plus(cvec u, vec w, cvec v) { return (cvec){u.re + w * v.re, u.im + w * v.im}; }
/* a exp(sign i angle), where w = (cos angle, sin angle). */
INLINE cvec rotate(cvec a, const REAL *w, int sign) {
    REAL c = w[0], s = sign > 0 ? w[1] : -w[1];
    return (cvec){a.re * c - a.im * s, a.re * s + a.im * c};
}

/* ---- Transforms of a prime length or four, out[k] = sum_j a[j] exp(sign 2 pi i j k / radix) ---- */

INLINE void small_transform(int radix, cvec *a, int sign) {
    if (radix == 2) {
        cvec sum = add(a[0], a[1]);
        a[1] = sub(a[0], a[1]), a[0] = sum;
    } else if (radix == 4) {
        cvec even = add(a[0], a[2]), odd = add(a[1], a[3]);
        cvec even_rest = sub(a[0], a[2]), odd_rest = turn(sub(a[1], a[3]), sign);
        a[0] = add(even, odd), a[2] = sub(even, odd);
        a[1] = add(even_rest, odd_rest), a[3] = sub(even_rest, odd_rest);
    } else if (radix == 3) {
        const REAL c = -0.5, s = 0.8660254037844386468L;
        cvec sum = add(a[1], a[2]), rest = turn(sub(a[1], a[2]), sign);
        cvec middle = {a[0].re + c * sum.re, a[0].im + c * sum.im};
        a[0] = add(a[0], sum);
        a[1] = (cvec){middle.re + s * rest.re, middle.im + s * rest.im};
        a[2] = (cvec){middle.re - s * rest.re, middle.im - s * rest.im};
    } else {
        const REAL c1 = 0.3090169943749474241L, c2 = -0.8090169943749474241L;
        const REAL s1 = 0.9510565162951535721L, s2 = 0.5877852522924731292L;
        cvec p = add(a[1], a[4]), q = add(a[2], a[3]);
        cvec r = turn(sub(a[1], a[4]), sign), t = turn(sub(a[2], a[3]), sign);
        cvec x = {a[0].re + c1 * p.re + c2 * q.re, a[0].im + c1 * p.im + c2 * q.im};
        cvec y = {a[0].re + c2 * p.re + c1 * q.re, a[0].im + c2 * p.im + c1 * q.im};
        cvec f = {s1 * r.re + s2 * t.re, s1 * r.im + s2 * t.im};
        cvec g = {s2 * r.re - s1 * t.re, s2 * r.im - s1 * t.im};
        a[0] = add(a[0], add(p, q));
        a[1] = add(x, f), a[4] = sub(x, f), a[2] = add(y, g), a[3] = sub(y, g);
    }
}

/* ---- Transforms in place. `roots` holds cos and sin of 2 pi j / (length * stride). ---- */

INLINE int radix_of(long length) {
    return length % 4 == 0 ? 4 : length % 2 == 0 ? 2 : length % 3 == 0 ? 3 : 5;
}

INLINE void pass_to_grid(int radix, cvec *x, long length, long block, const REAL *roots, long stride) {
    long part = block / radix, unit = stride * (length / block);
    for (long start = 0; start < length; start += block)
        for (long j = 0; j < part; j++) {
            cvec a[5], *p = x + start + j;
            for (int k = 0; k < radix; k++) a[k] = p[k * part];
            small_transform(radix, a, 1);
            p[0] = a[0];
            for (int k = 1; k < radix; k++) p[k * part] = rotate(a[k], roots + 2 * unit * j * k, 1);
        }
}

INLINE void pass_to_modes(int radix, cvec *x, long length, long block, const REAL *roots, long stride) {
    long part = block / radix, unit = stride * (length / block);
    for (long start = 0; start < length; start += block)
        for (long j = 0; j < part; j++) {
            cvec a[5], *p = x + start + j;
            a[0] = p[0];
            for (int k = 1; k < radix; k++) a[k] = rotate(p[k * part], roots + 2 * unit * j * k, -1);
            small_transform(radix, a, -1);
            for (int k = 0; k < radix; k++) p[k * part] = a[k];
        }
}

#define WITH_CONSTANT_RADIX(function, radix, ...)        \
    switch (radix) {                                     \
    case 2: function(2, __VA_ARGS__); break;             \
    case 3: function(3, __VA_ARGS__); break;             \
    case 4: function(4, __VA_ARGS__); break;             \
    default: function(5, __VA_ARGS__);                   \
    }

/* sum_k x[k] exp(2 pi i j k / length), in digit-reversed order. */
static void to_grid(cvec *x, long length, const REAL *roots, long stride) {
    for (long block = length; block > 1; block /= radix_of(block))
        WITH_CONSTANT_RADIX(pass_to_grid, radix_of(block), x, length, block, roots, stride)
}

/* sum_j x[j] exp(-2 pi i j k / length) from digit-reversed order: the passes of to_grid in reverse. */
static void to_modes(cvec *x, long length, const REAL *roots, long stride) {
    long blocks[64];
    int passes = 0;
    for (long block = length; block > 1; block /= radix_of(block)) blocks[passes++] = block;
    while (passes--)
        WITH_CONSTANT_RADIX(pass_to_modes, radix_of(blocks[passes]), x, length, blocks[passes], roots, stride)
}

/* ---- Schemes ---- */

enum scheme { ETDRK4, ETDAB4, CNRK4 };
enum stage { START, RK_1, RK_2, RK_3, RK_4, AB, CN_1, CN_2, CN_3, CN_4, CN_5 };

/* The modes of one trajectory (of LANES trajectories for Burgers), and what the schemes remember of them. */
struct memory {
    cvec *u, *first, *second;
    cvec *past[3];        /* N of the step before, of two and of three steps before. */
    const vec *weights;   /* of ETDRK4 or CN-RK4, all weights of a mode together */
    const vec *multistep; /* of ETDAB4 */
};

/* Fractions of the previous stage's increment that CN-RK4 carries over. */
static const REAL CARRY[] = {STAGE_CARRY};

/* Takes N at a stage, updates the memory of mode i, and returns the mode at which N is needed next. */
INLINE cvec advance(const struct memory *s, enum stage stage, long i, cvec n) {
    const vec *w = s->weights + 7 * i;
    cvec u = s->u[i];
    switch (stage) {
    case START: return u;
    case RK_1: {
        cvec decayed = plus(u, w[0], u), a = plus(decayed, w[1], n);
        s->first[i] = decayed;
        s->second[i] = plus(plus(a, w[0], a), (REAL)-0.5 * w[2], n);
        s->u[i] = plus(plus(u, w[3], u), w[4], n);
        if (s->past[2]) s->past[2][i] = n;
        return a;
    }
    case RK_2: s->u[i] = plus(u, w[5], n); return plus(s->first[i], w[1], n);
    case RK_3: s->u[i] = plus(u, w[5], n); return plus(s->second[i], w[2], n);
    case RK_4: return s->u[i] = plus(u, w[6], n);
    case AB: {
        const vec *m = s->multistep + 5 * i;
        cvec next = plus(plus(u, m[0], u), m[1], n);
        next = plus(plus(next, m[2], s->past[0][i]), m[3], s->past[1][i]);
        next = plus(next, m[4], s->past[2][i]);
        s->past[2][i] = n;
        return s->u[i] = next;
    }
    default: {
        int k = stage - CN_1;
        w = s->weights + 10 * i + 2 * k;
        cvec carried = k ? plus(n, CARRY[k] - (vec){0}, s->first[i]) : n;
        s->first[i] = carried;
        return s->u[i] = plus(plus(u, w[0], u), w[1], carried);
    }
    }
}

/* Calls EVALUATE(stage) for all stages of all steps. ring holds N of the last steps; step t replaces t % 3. */
#define RUN_STEPS(EVALUATE)                                                      \
    EVALUATE(START);                                                             \
    for (long t = 0; t < steps; t++) {                                           \
        for (int j = 0; j < 3; j++) s.past[j] = past ? ring[(t + 2 - j) % 3] : 0; \
        if (scheme == CNRK4)                                                     \
            for (int stage = CN_1; stage <= CN_5; stage++) EVALUATE(stage);      \
        else if (scheme == ETDAB4 && known + t >= 3)                             \
            EVALUATE(AB);                                                        \
        else                                                                     \
            for (int stage = RK_1; stage <= RK_4; stage++) EVALUATE(stage);      \
    }

/* ---- Burgers: a block is LANES trajectories, its state `half` modes. ----

   A real field of 2 m points is transformed as the complex field z[j] = u[2 j] + i u[2 j + 1] of m points. */

static void burgers_stage(const struct memory *s, enum stage stage, long points, long half, const REAL *flux,
                          const REAL *roots, cvec *z, cvec *modes) {
    long m = points / 2;
    if (stage == START)
        for (long k = 0; k < half; k++) modes[k] = s->u[k];
    else {
        for (long j = 0; j < m; j++) z[j] = (cvec){z[j].re * z[j].re, z[j].im * z[j].im};
        to_modes(z, m, roots, 2);
        for (long k = 0; k < half; k++) {
            cvec a = z[k % m], b = conjugate(z[(m - k) % m]);
            cvec square = add(add(a, b), rotate(turn(sub(a, b), -1), roots + 2 * k, -1));
            modes[k] = advance(s, stage, k, (cvec){-flux[k] * square.im, flux[k] * square.re});
        }
    }
    for (long k = half; k <= m; k++) modes[k] = (cvec){0};
    for (long k = 0; k < m; k++) {
        cvec a = modes[k], b = conjugate(modes[m - k]);
        z[k] = add(add(a, b), rotate(turn(sub(a, b), 1), roots + 2 * k, 1));
    }
    to_grid(z, m, roots, 2);
}

#define BURGERS_STAGE(stage) burgers_stage(&s, stage, points, half, flux, roots, z, modes)

/* Advances blocks `begin` to `end` of state (blocks, half) and past (3, blocks, half). flux is -k / (4 points),
   with one factor 1/2 from N and another because `square` above is twice the modes. */
void burgers(long begin, long end, long blocks, long points, long half, REAL *state, REAL *past, long known,
             int scheme, long steps, const REAL *weights, const REAL *multistep, const REAL *flux,
             const REAL *roots, REAL *work) {
    cvec *z = (cvec *)work, *modes = z + points / 2, *first = modes + points / 2 + 1, *second = first + half;
    for (long b = begin; b < end; b++) {
        cvec *ring[3];
        for (int j = 0; past && j < 3; j++) ring[j] = (cvec *)past + (j * blocks + b) * half;
        struct memory s = {(cvec *)state + b * half, first, second, {0}, (const vec *)weights,
                           (const vec *)multistep};
        RUN_STEPS(BURGERS_STAGE)
    }
}

/* ---- Kolmogorov: one trajectory at a time, its velocity as the complex field z = u + i v. ----

   With kappa = kx + i ky, the modes of z are kappa / k^2 times those of the vorticity w. Since
   z^2 = u^2 - v^2 + 2 i u v, minus the advection is N(k) = (G(k) - conj G(-k)) / 4i, where
   G = conj(kappa^2) F[z^2].
   The state is the modes of w with ky >= 0. A block of columns holds LANES / 2 wavenumbers kx >= 0 and then
   their negatives, so that k and -k differ by HALVES. */

struct flow {
    long points, half, rows, blocks; /* rows are points, rounded up to whole vectors */
    REAL unit, forcing;              /* unit is 2 pi / length */
    long forcing_wavenumber;
    const vec *kx, *inverse_square;  /* (blocks) and (blocks, half), in units of 1 / length */
    const REAL *roots;
    cvec *field, *row; /* z or its square: (blocks, rows); one row of all kx for LANES rows of the grid */
};

INLINE cvec negative_modes(cvec a) {
    return (cvec){SHUFFLE(a.re, a.re, HALVES), -SHUFFLE(a.im, a.im, HALVES)};
}

/* Takes modes to the grid along x, squares z there, and returns, for all rows of the grid. */
static void square_on_grid(const struct flow *f) {
    long points = f->points, half = f->half;
    cvec *x = f->row;
    vec re[LANES], im[LANES];
    for (long first = 0; first < f->rows; first += LANES) {
        for (long b = 0; b < f->blocks; b++) {
            const cvec *tile = f->field + b * f->rows + first;
            for (int l = 0; l < LANES; l++) re[l] = tile[l].re, im[l] = tile[l].im;
            transpose(re), transpose(im);
            for (int l = 0; l < LANES / 2; l++) {
                long k = b * (LANES / 2) + l;
                if (k < half) x[k] = (cvec){re[l], im[l]};
                if (k && k < half) x[points - k] = (cvec){re[l + LANES / 2], im[l + LANES / 2]};
            }
        }
        for (long k = half; k <= points - half; k++) x[k] = (cvec){0};
        to_grid(x, points, f->roots, 1);
        for (long j = 0; j < points; j++)
            x[j] = (cvec){x[j].re * x[j].re - x[j].im * x[j].im, 2 * x[j].re * x[j].im};
        to_modes(x, points, f->roots, 1);
        for (long b = 0; b < f->blocks; b++) {
            cvec *tile = f->field + b * f->rows + first;
            for (int l = 0; l < LANES / 2; l++) {
                long k = b * (LANES / 2) + l;
                cvec positive = k < half ? x[k] : (cvec){0};
                cvec negative = k < half ? x[(points - k) % points] : (cvec){0};
                re[l] = positive.re, im[l] = positive.im;
                re[l + LANES / 2] = negative.re, im[l + LANES / 2] = negative.im;
            }
            transpose(re), transpose(im);
            for (int l = 0; l < LANES; l++) tile[l] = (cvec){re[l], im[l]};
        }
    }
}

static void kolmogorov_stage(const struct memory *s, enum stage stage, const struct flow *f) {
    long points = f->points, half = f->half;
    REAL scale = (REAL)0.25 / ((REAL)points * (REAL)points);
    if (stage != START) square_on_grid(f);
    for (long b = 0; b < f->blocks; b++) {
        cvec *column = f->field + b * f->rows;
        vec kx = f->kx[b];
        if (stage != START) to_modes(column, points, f->roots, 1);
        for (long j = 0; j < half; j++) {
            REAL ky = f->unit * j;
            vec real = (kx * kx - ky * ky) * scale, imaginary = 2 * ky * kx * scale; /* of kappa^2 */
            cvec here = column[j], there = negative_modes(column[(points - j) % points]);
            cvec sum = add(here, there), rest = sub(here, there);
            cvec n = {real * rest.im - imaginary * sum.re, -real * rest.re - imaginary * sum.im};
            if (b == 0 && j == f->forcing_wavenumber) n.re[0] += f->forcing, n.re[LANES / 2] += f->forcing;
            long i = b * half + j;
            cvec w = advance(s, stage, i, n);
            vec inverse_square = f->inverse_square[i];
            vec x = kx * inverse_square, y = ky * inverse_square;
            column[j] = (cvec){x * w.re - y * w.im, x * w.im + y * w.re};
            if (j) column[points - j] = negative_modes((cvec){-x * w.re - y * w.im, y * w.re - x * w.im});
        }
        for (long j = half; j <= points - half; j++) column[j] = (cvec){0};
        to_grid(column, points, f->roots, 1);
    }
}

#define KOLMOGOROV_STAGE(stage) kolmogorov_stage(&s, stage, &f)

/* Advances trajectories `begin` to `end` of state (trajectories, blocks, half) and past (3, like state). */
void kolmogorov(long begin, long end, long trajectories, long points, long half, REAL *state, REAL *past,
                long known, int scheme, long steps, const REAL *weights, const REAL *multistep,
                const REAL *kx, const REAL *inverse_square, REAL unit, REAL forcing, long forcing_wavenumber,
                const REAL *roots, REAL *work) {
    long blocks = (2 * half + LANES - 1) / LANES, rows = (points + LANES - 1) / LANES * LANES;
    long size = blocks * half;
    cvec *row = (cvec *)work, *first = row + points, *second = first + size;
    struct flow f = {points, half, rows, blocks, unit, forcing, forcing_wavenumber,
                     (const vec *)kx, (const vec *)inverse_square, roots, second + size, row};
    for (long b = begin; b < end; b++) {
        cvec *ring[3];
        for (int j = 0; past && j < 3; j++) ring[j] = (cvec *)past + (j * trajectories + b) * size;
        struct memory s = {(cvec *)state + b * size, first, second, {0}, (const vec *)weights,
                           (const vec *)multistep};
        RUN_STEPS(KOLMOGOROV_STAGE)
    }
}
