;; The inner loops of the exact search: one query against a block of rows that lie densely, `dim` numbers of 1 << width bytes each.
;;
;; width 2: float32 rows, and a float32 query.
;; width 1: float16 rows. A half's sign and its other 15 bits, each moved to its place, are a float32 that is 2^112 times too small,
;;          and the float32 query is as much too large.
;; width 0: int8 rows, and a query in steps of 2^-26: per 8 numbers 8 int16 of steps of 2^-14, then 8 of the rest. Both sums are
;;          exact up to 8,191 numbers.
;;
;; The query reaches to the next multiple of 8 numbers, of which those beyond `dim` are zero. So a row's last step may read on into
;; what follows: finite numbers times zero. After the last row lie zeros or rows of another block, never anything of another type.
;; `npm run kernel` assembles this file into ../src/kernel.js.
(module
  (import "scan" "memory" (memory 1))

  ;; out[row] = query . row, as float32
  (func (export "products")
    (param $width i32) (param $query i32) (param $dim i32) (param $rows i32) (param $count i32) (param $out i32)
    (local $end i32) (local $at i32) (local $asked i32) (local $place i32)
    (local $x v128) (local $y v128) (local $a v128) (local $b v128)
    (local.set $end (i32.add (local.get $out) (i32.shl (local.get $count) (i32.const 2))))
    (loop $row
      (local.set $a (v128.const i64x2 0 0))
      (local.set $b (local.get $a))
      (local.set $place (i32.const 0))
      (loop $step ;; 8 numbers
        (local.set $at (i32.add (local.get $rows) (i32.shl (local.get $place) (local.get $width))))
        (local.set $asked (i32.add (local.get $query) (i32.shl (local.get $place) (i32.const 2))))
        (if (local.get $width)
          (then
            (if (i32.eq (local.get $width) (i32.const 2))
              (then
                (local.set $x (v128.load (local.get $at)))
                (local.set $y (v128.load offset=16 (local.get $at))))
              (else
                (local.set $x (v128.and
                  (i32x4.shl (v128.load16x4_s (local.get $at)) (i32.const 13))
                  (i32x4.splat (i32.const 0x8fffffff))))
                (local.set $y (v128.and
                  (i32x4.shl (v128.load16x4_s offset=8 (local.get $at)) (i32.const 13))
                  (i32x4.splat (i32.const 0x8fffffff))))))
            (local.set $a (f32x4.add (local.get $a) (f32x4.mul (local.get $x) (v128.load (local.get $asked)))))
            (local.set $b (f32x4.add (local.get $b) (f32x4.mul (local.get $y) (v128.load offset=16 (local.get $asked))))))
          (else
            (local.set $x (v128.load8x8_s (local.get $at)))
            (local.set $a (i32x4.add (local.get $a) (i32x4.dot_i16x8_s (local.get $x) (v128.load (local.get $asked)))))
            (local.set $b (i32x4.add (local.get $b) (i32x4.dot_i16x8_s (local.get $x) (v128.load offset=16 (local.get $asked)))))))
        (br_if $step (i32.lt_u (local.tee $place (i32.add (local.get $place) (i32.const 8))) (local.get $dim))))
      (f32.store (local.get $out)
        (if (result f32) (local.get $width)
          (then
            (local.set $a (f32x4.add (local.get $a) (local.get $b)))
            (f32.add
              (f32.add (f32x4.extract_lane 0 (local.get $a)) (f32x4.extract_lane 1 (local.get $a)))
              (f32.add (f32x4.extract_lane 2 (local.get $a)) (f32x4.extract_lane 3 (local.get $a)))))
          (else
            (f32.mul (f32.const 0x1p-26) (f32.convert_i64_s (i64.add
              (i64.shl (i64.extend_i32_s (call $total (local.get $a))) (i64.const 12))
              (i64.extend_i32_s (call $total (local.get $b)))))))))
      (local.set $rows (i32.add (local.get $rows) (i32.shl (local.get $dim) (local.get $width))))
      (br_if $row (i32.lt_u (local.tee $out (i32.add (local.get $out) (i32.const 4))) (local.get $end)))))

  ;; Sum of four integer lanes.
  (func $total (param $v v128) (result i32)
    (i32.add
      (i32.add (i32x4.extract_lane 0 (local.get $v)) (i32x4.extract_lane 1 (local.get $v)))
      (i32.add (i32x4.extract_lane 2 (local.get $v)) (i32x4.extract_lane 3 (local.get $v))))))
