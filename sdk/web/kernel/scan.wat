;; The inner loops of the exact search: one query against a block of rows that lie densely, `dim` numbers each.
;;
;; `query` and what lies behind it reach to the next multiple of 8 numbers, of which those beyond `dim` are zero. So a row's last
;; step may read on into what follows: finite numbers times zero. After the last row lie zeros or rows of another block, never
;; anything of another type.
;; `npm run kernel` assembles this file into ../src/kernel.js.
(module
  (import "scan" "memory" (memory 1))

  ;; Sum of four float lanes.
  (func $sum (param $v v128) (result f32)
    (f32.add
      (f32.add (f32x4.extract_lane 0 (local.get $v)) (f32x4.extract_lane 1 (local.get $v)))
      (f32.add (f32x4.extract_lane 2 (local.get $v)) (f32x4.extract_lane 3 (local.get $v)))))

  ;; Sum of four integer lanes.
  (func $total (param $v v128) (result i32)
    (i32.add
      (i32.add (i32x4.extract_lane 0 (local.get $v)) (i32x4.extract_lane 1 (local.get $v)))
      (i32.add (i32x4.extract_lane 2 (local.get $v)) (i32x4.extract_lane 3 (local.get $v)))))

  ;; float32 rows: out[row] = query . row
  (func (export "float32") (param $query i32) (param $dim i32) (param $rows i32) (param $count i32) (param $out i32)
    (local $end i32) (local $at i32) (local $place i32) (local $a v128) (local $b v128)
    (local.set $end (i32.add (local.get $out) (i32.shl (local.get $count) (i32.const 2))))
    (loop $row
      (local.set $a (v128.const i64x2 0 0))
      (local.set $b (v128.const i64x2 0 0))
      (local.set $place (i32.const 0))
      (loop $step ;; 8 numbers
        (local.set $at (i32.shl (local.get $place) (i32.const 2)))
        (local.set $a (f32x4.add (local.get $a) (f32x4.mul
          (v128.load (i32.add (local.get $rows) (local.get $at)))
          (v128.load (i32.add (local.get $query) (local.get $at))))))
        (local.set $b (f32x4.add (local.get $b) (f32x4.mul
          (v128.load offset=16 (i32.add (local.get $rows) (local.get $at)))
          (v128.load offset=16 (i32.add (local.get $query) (local.get $at))))))
        (br_if $step (i32.lt_u (local.tee $place (i32.add (local.get $place) (i32.const 8))) (local.get $dim))))
      (f32.store (local.get $out) (call $sum (f32x4.add (local.get $a) (local.get $b))))
      (local.set $rows (i32.add (local.get $rows) (i32.shl (local.get $dim) (i32.const 2))))
      (br_if $row (i32.lt_u (local.tee $out (i32.add (local.get $out) (i32.const 4))) (local.get $end)))))

  ;; float16 rows: out[row] = query . row. A half's sign and its other 15 bits, each moved to its place, are a float32 that is
  ;; 2^112 times too small, and the query is as much too large.
  (func (export "float16") (param $query i32) (param $dim i32) (param $rows i32) (param $count i32) (param $out i32)
    (local $end i32) (local $at i32) (local $place i32) (local $a v128) (local $b v128)
    (local.set $end (i32.add (local.get $out) (i32.shl (local.get $count) (i32.const 2))))
    (loop $row
      (local.set $a (v128.const i64x2 0 0))
      (local.set $b (v128.const i64x2 0 0))
      (local.set $place (i32.const 0))
      (loop $step ;; 8 numbers
        (local.set $at (i32.shl (local.get $place) (i32.const 1)))
        (local.set $a (f32x4.add (local.get $a) (f32x4.mul
          (v128.and
            (i32x4.shl (v128.load16x4_s (i32.add (local.get $rows) (local.get $at))) (i32.const 13))
            (v128.const i32x4 0x8fffffff 0x8fffffff 0x8fffffff 0x8fffffff))
          (v128.load (i32.add (local.get $query) (i32.shl (local.get $at) (i32.const 1)))))))
        (local.set $b (f32x4.add (local.get $b) (f32x4.mul
          (v128.and
            (i32x4.shl (v128.load16x4_s offset=8 (i32.add (local.get $rows) (local.get $at))) (i32.const 13))
            (v128.const i32x4 0x8fffffff 0x8fffffff 0x8fffffff 0x8fffffff))
          (v128.load offset=16 (i32.add (local.get $query) (i32.shl (local.get $at) (i32.const 1)))))))
        (br_if $step (i32.lt_u (local.tee $place (i32.add (local.get $place) (i32.const 8))) (local.get $dim))))
      (f32.store (local.get $out) (call $sum (f32x4.add (local.get $a) (local.get $b))))
      (local.set $rows (i32.add (local.get $rows) (i32.shl (local.get $dim) (i32.const 1))))
      (br_if $row (i32.lt_u (local.tee $out (i32.add (local.get $out) (i32.const 4))) (local.get $end)))))

  ;; int8 rows: out[row] = query . row, of a query in steps of 2^-26: per 8 numbers 8 int16 of steps of 2^-14, then 8 of the rest.
  ;; Both sums are exact up to 16,384 numbers.
  (func (export "int8") (param $query i32) (param $dim i32) (param $rows i32) (param $count i32) (param $out i32)
    (local $end i32) (local $at i32) (local $place i32) (local $coarse v128) (local $fine v128) (local $codes v128)
    (local.set $end (i32.add (local.get $out) (i32.shl (local.get $count) (i32.const 2))))
    (loop $row
      (local.set $coarse (v128.const i64x2 0 0))
      (local.set $fine (v128.const i64x2 0 0))
      (local.set $place (i32.const 0))
      (loop $step ;; 8 numbers
        (local.set $codes (v128.load8x8_s (i32.add (local.get $rows) (local.get $place))))
        (local.set $at (i32.add (local.get $query) (i32.shl (local.get $place) (i32.const 2))))
        (local.set $coarse (i32x4.add (local.get $coarse) (i32x4.dot_i16x8_s (local.get $codes) (v128.load (local.get $at)))))
        (local.set $fine (i32x4.add (local.get $fine) (i32x4.dot_i16x8_s (local.get $codes) (v128.load offset=16 (local.get $at)))))
        (br_if $step (i32.lt_u (local.tee $place (i32.add (local.get $place) (i32.const 8))) (local.get $dim))))
      (f32.store (local.get $out) (f32.demote_f64 (f64.mul (f64.const 0x1p-26) (f64.add
        (f64.mul (f64.const 4096) (f64.convert_i32_s (call $total (local.get $coarse))))
        (f64.convert_i32_s (call $total (local.get $fine)))))))
      (local.set $rows (i32.add (local.get $rows) (local.get $dim)))
      (br_if $row (i32.lt_u (local.tee $out (i32.add (local.get $out) (i32.const 4))) (local.get $end)))))
)
