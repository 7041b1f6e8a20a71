"""Models: what is trained, what is refused (and that this changes nothing), files, interrupts, the second process."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import symnet as sn
from symnet.errors import SymnetError
from symnet.run import storage

RNG = np.random.default_rng(7)
XOR = np.array([[0, 0], [0, 1], [1, 0], [1, 1.0]]), np.array([0, 1, 1, 0])
ADAM = {"name": "adam", "learning_rate": 0.02}


def classifier(units=8, l2=1e-3):
    layers = [sn.dense(units, activation="tanh", name="hidden"), sn.dense(3, name="out")]
    return sn.Network(5, layers, "softmax_cross_entropy", l2)


def regression():
    layers = [sn.dense(6, activation="relu", name="hidden"), sn.dense(2, name="out")]
    return sn.Network(5, layers, "squared_error", 1e-2)


X = RNG.normal(size=(70, 5))
LABELS = (X[:, 0] + X[:, 1] ** 2 > 0.7).astype(int) + (X[:, 2] > 0.3)
VALUES = np.stack([X @ [1, -2, 0, 1, 0.5], np.abs(X[:, 0])], axis=1)


@pytest.fixture
def model():
    return classifier().compile(ADAM, "float64", seed=1)


def everything(model):
    """All that training may change, bit by bit: parameters, optimizer state, canaries, progress."""
    return model.memory.persistent.tobytes(), model.memory.intact, model.progress


# ---------------------------------------------------------------------------------------------- against NumPy
def numpy_step(p, x, labels, l2):
    """Loss and gradients of `classifier` by hand: an independent statement of the same mathematics."""
    a = np.tanh(x @ p["hidden.W"].T + p["hidden.b"])
    z = a @ p["out.W"].T + p["out.b"]
    q = np.exp(z - z.max(axis=1, keepdims=True))
    q /= q.sum(axis=1, keepdims=True)
    loss = -np.mean(np.log(q[np.arange(len(x)), labels]))
    dz = q.copy()
    dz[np.arange(len(x)), labels] -= 1
    dz /= len(x)
    da = dz @ p["out.W"] * (1 - a**2)
    gradient = {"hidden.W": da.T @ x, "hidden.b": da.sum(axis=0), "out.W": dz.T @ a, "out.b": dz.sum(axis=0)}
    for name in ("hidden.W", "out.W"):
        gradient[name] += l2 * p[name]
    penalty = l2 / 2 * sum((p[name] ** 2).sum() for name in ("hidden.W", "out.W"))
    return loss, penalty, gradient


def numpy_adam(p, batches, l2, rate=0.02, beta1=0.9, beta2=0.999, epsilon=1e-8):
    p = {name: np.array(value, np.float64) for name, value in p.items()}
    m = {name: np.zeros_like(value) for name, value in p.items()}
    v = {name: np.zeros_like(value) for name, value in p.items()}
    losses = []
    for step, (x, labels) in enumerate(batches, 1):
        loss, _, gradient = numpy_step(p, x, labels, l2)
        losses.append(loss)
        for name, g in gradient.items():
            m[name] = beta1 * m[name] + (1 - beta1) * g
            v[name] = beta2 * v[name] + (1 - beta2) * g**2
            p[name] -= rate * (m[name] / (1 - beta1**step)) / (np.sqrt(v[name] / (1 - beta2**step)) + epsilon)
    return p, losses


def test_value_and_gradient_are_those_of_a_hand_written_backward_pass():
    network = classifier()
    parameters = dict(network.compile(seed=3, dtype="float64").parameters)
    for rows in (1, 70):
        loss, penalty, expected = numpy_step(parameters, X[:rows], LABELS[:rows], 1e-3)
        value, gradient = network.value_and_gradient(parameters, X[:rows], LABELS[:rows])
        assert abs(value - loss - penalty) <= 1e-14
        for name in expected:
            assert gradient[name].shape == network.parameters[name]
            assert np.abs(gradient[name] - expected[name]).max() <= 1e-14


def test_value_and_gradient_of_more_rows_than_a_call_takes():
    network = classifier()
    parameters = dict(network.compile(seed=3, dtype="float64").parameters)
    x, labels = np.tile(X, (9, 1)), np.tile(LABELS, 9)
    one, many = (network.value_and_gradient(parameters, *data) for data in ((X, LABELS), (x, labels)))
    assert abs(one[0] - many[0]) <= 1e-14
    assert all(np.abs(one[1][name] - many[1][name]).max() <= 1e-14 for name in one[1])


def test_targets_of_one_output_may_be_a_vector_or_a_column():
    network = sn.Network(5, [sn.dense(1, name="out")], "squared_error")
    parameters = dict(network.compile(dtype="float64").parameters)
    y = VALUES[:, 0]
    first, second = (network.value_and_gradient(parameters, X, t) for t in (y, y[:, None]))
    assert first[0] == second[0] and np.array_equal(first[1]["out.W"], second[1]["out.W"])


@pytest.mark.parametrize("batch", [70, 32, 1])
def test_training_is_adam_on_the_batches_in_order_with_the_last_partial_one(model, batch):
    start = dict(model.parameters)
    history = model.fit(X, LABELS, epochs=2, batch_size=batch, shuffle=False)
    batches = [(X[k : k + batch], LABELS[k : k + batch]) for k in range(0, 70, batch)] * 2
    expected, losses = numpy_adam(start, batches, 1e-3)
    for name in expected:
        assert np.abs(model.parameters[name] - expected[name]).max() <= 1e-11
    weights = [len(labels) for _, labels in batches]
    means = [
        np.average(part, weights=w) for part, w in zip(np.split(np.array(losses), 2), np.split(np.array(weights), 2))
    ]
    assert np.allclose(history.loss, means, rtol=1e-11)
    assert history.steps == len(batches) and history.samples == 140 and len(history) == 2


def test_distributions_of_one_hot_rows_train_as_labels_do():
    one_hot = np.eye(3)[LABELS]
    first, second = (classifier().compile(ADAM, "float64", seed=1) for _ in range(2))
    first.fit(X, LABELS, epochs=2)
    second.fit(X, one_hot, epochs=2)
    for name in first.parameters:
        assert np.abs(first.parameters[name] - second.parameters[name]).max() <= 1e-12
    assert abs(first.evaluate(X, LABELS)["loss"] - second.evaluate(X, one_hot)["loss"]) <= 1e-12


def test_targets_that_do_not_sum_to_one_train_without_that_fact(model):
    weights = np.eye(3)[LABELS] * 0.5
    start = dict(model.parameters)
    rate = 0.02
    model.prepare(X, weights, 70).run(1)
    # R = -(1/N) sum_nk y_nk log q_nk has the gradient of half the loss: Adam's first step has the same signs and size
    _, _, gradient = numpy_step(start, X, LABELS, 2e-3)
    moved = start["out.b"] - model.parameters["out.b"]
    assert np.allclose(moved, rate * np.sign(gradient["out.b"]), rtol=1e-5)


# ---------------------------------------------------------------------------------------------- inference
def test_a_classifier_predicts_the_class_of_the_largest_probability(model):
    model.fit(X, LABELS, epochs=30)
    p = model.predict_proba(X)
    assert p.shape == (70, 3) and np.allclose(p.sum(axis=1), 1)
    assert model.predict(X).dtype == np.int64 and np.array_equal(model.predict(X), p.argmax(axis=1))
    found = model.evaluate(X, LABELS)
    assert found["accuracy"] == np.mean(model.predict(X) == LABELS) > 0.7
    assert abs(found["loss"] + np.mean(np.log(p[np.arange(70), LABELS]))) <= 1e-12


def test_a_regression_predicts_values_and_has_no_probabilities():
    model = regression().compile("gradient_descent", "float64", seed=2)
    p = model.parameters
    expected = np.maximum(X @ p["hidden.W"].T + p["hidden.b"], 0) @ p["out.W"].T + p["out.b"]
    assert np.abs(model.predict(X) - expected).max() <= 1e-13
    assert abs(model.evaluate(X, VALUES)["loss"] - np.mean((expected - VALUES) ** 2)) <= 1e-13
    assert "accuracy" not in model.evaluate(X, VALUES)
    with pytest.raises(SymnetError, match="squared_error, expected a classifier"):
        model.predict_proba(X)


def test_prediction_does_not_depend_on_how_many_rows_there_are(model):
    many = np.tile(X, (9, 1))
    assert np.array_equal(model.predict_proba(many), np.tile(model.predict_proba(X), (9, 1)))
    assert np.array_equal(model.predict_proba(X[3:4]), model.predict_proba(X)[3:4])


def test_prediction_does_not_compile_the_training_loop(model):
    model.predict(X)
    assert not model.kernels.made("training") and model.kernels.made("prediction")


# ---------------------------------------------------------------------------------------------- going on
def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    runs = []
    for seed in (5, 5, 6):
        model = classifier().compile(ADAM, seed=seed)
        model.fit(X, LABELS, epochs=3, batch_size=16)
        runs.append(model.memory.persistent.tobytes())
    assert runs[0] == runs[1] != runs[2]


def test_fit_goes_on_where_the_last_fit_ended():
    whole, parts = (classifier().compile(ADAM, "float64", seed=1) for _ in range(2))
    history = whole.fit(X, LABELS, epochs=5, batch_size=16)
    pieces = [*parts.fit(X, LABELS, epochs=2, batch_size=16), *parts.fit(X, LABELS, epochs=3, batch_size=16)]
    assert everything(whole) == everything(parts)
    assert [(e.epoch, e.loss) for e in pieces] == [(e.epoch, e.loss) for e in history]


def test_run_makes_exactly_these_steps_across_epochs_and_gives_the_last_loss():
    whole, parts = (classifier().compile(ADAM, "float64", seed=1) for _ in range(2))
    loss = whole.prepare(X, LABELS, batch_size=16).run(23)
    assert whole.progress.step == 23 and whole.progress.epoch == 4 and whole.progress.position == 48
    loop = parts.prepare(X, LABELS, batch_size=16)
    for steps in (1, 4, 11):
        loop.run(steps)
    assert parts.prepare(X, LABELS, batch_size=16).run(7) == loss
    assert everything(whole) == everything(parts)


def test_a_model_that_was_saved_in_the_middle_of_an_epoch_goes_on_bit_by_bit(tmp_path):
    whole = classifier().compile(ADAM, seed=1)
    whole.scale(X)
    loop = whole.prepare(X, LABELS, batch_size=16)
    loop.run(13)
    whole.save(tmp_path / "model")
    again = sn.load(tmp_path / "model")
    assert everything(again) == everything(whole)
    assert repr(again.network) == repr(whole.network) and again.network.spec == whole.network.spec
    assert loop.run(11) == again.prepare(X, LABELS, batch_size=16).run(11)
    assert everything(again) == everything(whole)
    assert np.array_equal(again.predict_proba(X), whole.predict_proba(X))


def test_data_that_are_read_only_or_mapped_from_a_file_need_no_copy(model, tmp_path):
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    loop = model.prepare(mapped, LABELS, batch_size=16)
    assert np.shares_memory(loop.data.inputs["x"], mapped)
    other = classifier().compile(ADAM, "float64", seed=1)
    assert loop.run(9) == other.prepare(X.tolist(), LABELS.tolist(), batch_size=16).run(9)


# ---------------------------------------------------------------------------------------------- validation, callbacks
def test_validation_is_an_evaluation_after_each_epoch(model):
    seen = []
    history = model.fit(
        X[:50], LABELS[:50], epochs=4, batch_size=16, validation_data=(X[50:], LABELS[50:]),
        callbacks=[lambda epoch: seen.append((epoch, model.evaluate(X[50:], LABELS[50:])))],
    )  # fmt: skip
    assert [epoch for epoch, _ in seen] == list(history)
    for epoch, found in seen:
        assert abs(epoch.validation_loss - found["loss"]) <= 1e-13 and epoch.accuracy == found["accuracy"]


def test_a_validation_split_leaves_its_rows_out_of_training(model):
    history = model.fit(X, LABELS, epochs=1, batch_size=10, validation_split=0.3)
    assert history.samples == 49 and history[0].validation_loss is not None


def test_patience_ends_and_the_best_parameters_come_back():
    model = classifier(units=8, l2=0.0).compile({"name": "adam", "learning_rate": 0.3}, "float64", seed=1)
    noise = RNG.integers(0, 3, 20)
    history = model.fit(
        X[:40], LABELS[:40], epochs=500, batch_size=8, validation_data=(X[40:60], noise), patience=3, restore_best=True
    )
    losses = list(history.validation_loss)
    assert history.stopped == "patience" and len(history) < 500
    assert history.best == int(np.argmin(losses)) and len(losses) == history.best + 1 + 3
    assert abs(model.evaluate(X[40:60], noise)["loss"] - min(losses)) <= 1e-12


def test_a_callback_that_returns_true_ends_the_training_after_its_epoch(model):
    history = model.fit(X, LABELS, epochs=50, callbacks=[lambda epoch: epoch.epoch == 2])
    assert history.stopped == "callback" and len(history) == 3 and model.progress.epoch == 3


def test_a_single_function_may_stand_for_the_callbacks(model):
    seen = []
    model.fit(X, LABELS, epochs=2, callbacks=lambda epoch: seen.append(epoch.epoch))
    assert seen == [0, 1]


def test_a_callback_may_save_assign_and_predict_but_not_train(model, tmp_path):
    def callback(epoch):
        model.save(tmp_path / f"{epoch.epoch}")
        model.predict(X)
        model.parameters["out.b"] = np.zeros(3)
        with pytest.raises(SymnetError, match="being trained"):
            model.fit(X, LABELS, epochs=1)

    model.fit(X, LABELS, epochs=2, batch_size=16, callbacks=[callback])
    assert sn.load(tmp_path / "1").progress.step == 10 == model.progress.step
    assert np.array_equal(model.parameters["out.b"], np.zeros(3))


def test_an_exception_in_a_callback_leaves_the_model_after_that_epoch(model):
    def fail(epoch):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        model.fit(X, LABELS, epochs=5, batch_size=16, callbacks=[fail])
    other = classifier().compile(ADAM, "float64", seed=1)
    other.fit(X, LABELS, epochs=1, batch_size=16)
    assert everything(model) == everything(other)


def test_verbose_prints_a_line_an_epoch(model, capsys):
    model.fit(X, LABELS, epochs=2, verbose=1)
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["epoch 1", "epoch 2"]


# ---------------------------------------------------------------------------------------------- Python stays out
def test_ten_thousand_epochs_of_xor_hardly_enter_python():
    network = sn.Network(2, [sn.dense(2, activation="relu", name="h"), sn.dense(1, name="o")], "squared_error")
    model = network.compile("adam", "float64")
    start = time.perf_counter()
    history = model.fit(*XOR, epochs=10_000, batch_size=4)
    seconds = time.perf_counter() - start
    assert history.steps == 10_000 and history.entries <= 1 + seconds / 0.05


def test_python_runs_as_little_for_ten_thousand_epochs_as_for_one():
    network = sn.Network(2, [sn.dense(2, activation="relu", name="h"), sn.dense(1, name="o")], "squared_error")
    model = network.compile("adam", "float64")
    model.fit(*XOR, epochs=1, batch_size=4)

    def calls(epochs):
        made = []
        sys.setprofile(lambda frame, event, _: made.append(frame.f_code.co_name) if event == "call" else None)
        try:
            model.fit(*XOR, epochs=epochs, batch_size=4)
        finally:
            sys.setprofile(None)
        return len(made)

    calls(1)
    assert calls(10_000) <= calls(1) + 100


def test_epochs_are_made_from_the_rows_when_asked_for(model):
    history = model.fit(X, LABELS, epochs=4, validation_split=0.25)
    assert [e.epoch for e in history] == [0, 1, 2, 3] and history[-1] == history.epochs[3] == history[3]
    assert history[1:3] == (history[1], history[2]) and len(history) == 4
    assert history.loss == tuple(e.loss for e in history)
    assert history.validation_loss == tuple(e.validation_loss for e in history)
    assert history.accuracy == tuple(e.accuracy for e in history)
    assert all(e.seconds >= 0 for e in history)
    with pytest.raises(IndexError):
        history[4]


def interrupted_after(seconds, function):
    """(what it raised, seconds from the interrupt to it)"""
    import _thread

    sent = []

    def send():
        sent.append(time.perf_counter())
        _thread.interrupt_main()

    timer = threading.Timer(seconds, send)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may ignore it
    timer.start()
    try:
        function()
    except KeyboardInterrupt as interrupt:
        return interrupt, time.perf_counter() - sent[0]
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, before)
    return None, 0.0


def test_an_interrupt_ends_training_soon_with_a_usable_model(model):
    model.fit(X, LABELS, epochs=1, batch_size=16)  # everything is compiled
    raised, seconds = interrupted_after(0.3, lambda: model.fit(X, LABELS, epochs=10**6, batch_size=16))
    assert isinstance(raised, KeyboardInterrupt) and seconds < 0.25
    assert model.progress.step > 5 and model.memory.intact
    steps = model.progress.step
    assert np.isfinite(model.prepare(X, LABELS, batch_size=16).run(3)) and model.progress.step == steps + 3


def test_a_loss_that_is_not_finite_stops_at_its_step_and_keeps_the_parameters_before():
    network = sn.Network(5, [sn.dense(4, name="a"), sn.dense(2, name="b")], "squared_error")
    model = network.compile({"name": "gradient_descent", "learning_rate": 1e3}, "float32")
    with pytest.raises(SymnetError, match=r"Training stopped at step (\d+) .*smaller learning_rate") as caught:
        model.fit(X, VALUES, epochs=100, batch_size=70)
    step = int(str(caught.value).split("step ")[1].split()[0])
    assert model.progress.step == step - 1 > 0
    assert all(np.isfinite(value).all() for value in model.parameters.values())
    other = network.compile({"name": "gradient_descent", "learning_rate": 1e3}, "float32")
    other.prepare(X, VALUES, 70).run(step - 1)
    assert model.memory.persistent.tobytes() == other.memory.persistent.tobytes()
    named = re.search(r"The first of them is (\w+)\[.*\] = (inf|-inf|nan).*, by \1\[.*\] = ", str(caught.value))
    assert named, str(caught.value)


def test_a_gradient_that_overflows_is_named_with_its_parameter():
    network = sn.Network(1, [sn.dense(1, name="a"), sn.dense(1, name="b")], "squared_error")
    model = network.compile("gradient_descent", "float32")
    # z = 1e-20 * 1e19 * x is small, its derivative by a.W is 1e19 * x * (z - y) with x = 1e20: beyond float32
    model.parameters = {"a.W": [[1e-30]], "a.b": [0], "b.W": [[1e19]], "b.b": [0]}
    with pytest.raises(
        SymnetError, match=r"at step 1 .* d_W1\[0, 0\] = -?inf \(the gradient of a\.W\), by d_W1\[i,j\] = "
    ):
        model.prepare([[1e20]] * 2, [[1.0]] * 2, 1).run(1)


# ---------------------------------------------------------------------------------------------- memory
def test_a_loop_goes_on_after_other_kernels_moved_the_memory(model):
    other = classifier().compile(ADAM, "float64", seed=1)
    loop = model.prepare(X, LABELS, batch_size=2)
    loop.run(3)
    block = model.memory.block.ctypes.data
    model.predict(X)
    assert model.memory.block.ctypes.data != block
    assert loop.run(9) == other.prepare(X, LABELS, batch_size=2).run(12)
    assert everything(model) == everything(other)


def test_two_loops_over_one_model_do_not_share_their_tables(model):
    other = classifier().compile(ADAM, "float64", seed=1)
    first, second = (model.prepare(x, LABELS, batch_size=70) for x in (X, -X))
    assert (first.run(2), second.run(2)) == (other.prepare(X, LABELS, 70).run(2), other.prepare(-X, LABELS, 70).run(2))


def test_threads_that_predict_with_one_model_get_its_predictions(model):
    expected, found = model.predict_proba(X), []
    threads = [
        threading.Thread(target=lambda: found.extend(model.predict_proba(X) for _ in range(50))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 200 and all(np.array_equal(p, expected) for p in found)


@pytest.mark.parametrize("side", [-1, 1])
def test_a_kernel_that_wrote_outside_its_memory_is_found_out(model, side):
    model.predict(X)
    place = model.memory._start + (-1 if side < 0 else model.memory._size)
    model.memory._raw[place] ^= 1
    with pytest.raises(SymnetError, match="wrote outside its memory"):
        model.predict(X)


# ---------------------------------------------------------------------------------------------- refusals
BAD = [
    (lambda m: m.fit(X[:, :4], LABELS), r"X: found shape \(70, 4\), expected \(n, 5\)"),
    (lambda m: m.fit(X, LABELS + 1), r"y\[\d+\]: found 3, expected labels from 0 to 2"),
    (lambda m: m.fit(X, LABELS - 1), r"y\[\d+\]: found -1"),
    (lambda m: m.fit(X, LABELS[:60]), "y: found 60 rows, expected 70 rows"),
    (lambda m: m.fit(np.where(X > 2, np.nan, X), LABELS), r"X\[\d+, \d\]: found nan, expected finite"),
    (lambda m: m.fit(X[:0], LABELS[:0]), "X: found an array of shape"),
    (lambda m: m.fit(X.astype(object), LABELS), "X: found an array of object"),
    (lambda m: m.fit(X, LABELS, epochs=0), "epochs: found 0, expected an integer from 1"),
    (lambda m: m.fit(X, LABELS, epochs=2.0), "epochs: found 2.0"),
    (lambda m: m.fit(X, LABELS, batch_size=-1), "batch_size: found -1"),
    (lambda m: m.fit(X, LABELS, shuffle="yes"), "shuffle: found 'yes'"),
    (lambda m: m.fit(X, LABELS, validation_split=1.0), "validation_split: found 1.0"),
    (lambda m: m.fit(X, LABELS, validation_data=(X, LABELS), validation_split=0.1), "found both"),
    (lambda m: m.fit(X, LABELS, validation_data=X), "expected a pair"),
    (lambda m: m.fit(X, LABELS, validation_data=(X, LABELS * 2)), r"validation_data\[1\]\[\d+\]: found 4"),
    (lambda m: m.fit(X, LABELS, patience=2), "without validation data"),
    (lambda m: m.fit(X, LABELS, restore_best=True), "without validation data"),
    (lambda m: m.fit(X, LABELS, monitor="acuracy"), "Did you mean 'accuracy'"),
    (lambda m: m.fit(X, LABELS, callbacks=[3]), r"callbacks\[0\]: found 3"),
    (lambda m: m.fit(X, LABELS, callbacks=3), "callbacks: found 3, expected a function of an Epoch, or a list"),
    (lambda m: m.fit(X, LABELS, verbose="loud"), "verbose: found 'loud', expected 0 or 1"),
    (lambda m: m.prepare(X, LABELS).run(0), "steps: found 0"),
    (lambda m: m.prepare(X, LABELS).run(True), "steps: found True"),
    (lambda m: m.predict(X[:, :4]), r"\(n, 5\)"),
    (lambda m: m.evaluate(X, LABELS + 1), "found 3"),
    (lambda m: m.scale(X, "columns"), "Did you mean 'column'"),
    (lambda m: m.parameters["hiden.W"], "Did you mean 'hidden.W'"),
    (lambda m: m.parameters.update({"out.b": np.zeros(3), "out.W": np.zeros(3)}), r"'out.W'\]: found shape \(3,\)"),
    (lambda m: m.parameters.update({"out.b": [0, np.inf, 0]}), r"\[1\]: found inf, expected finite numbers of float64"),
    (lambda m: m.parameters.update({"out.b": [0, 1j, 0]}), "found an array of complex128"),
    (lambda m: m.parameters.update({"out.b": ["a", "b", "c"]}), "found 'a', expected a number"),
    (lambda m: m.save("/nonexistent/folder/model"), "cannot be written"),
]


@pytest.mark.parametrize("number", range(len(BAD)))
def test_a_refused_call_says_why_and_changes_nothing(trained, number):
    call, message = BAD[number]
    before = everything(trained)
    with pytest.raises(SymnetError, match=message):
        call(trained)
    assert everything(trained) == before and before[1]


@pytest.fixture(scope="module")
def trained():
    model = classifier().compile(ADAM, "float64", seed=1)
    model.fit(X, LABELS, epochs=2, batch_size=16)
    return model


def test_a_float32_model_refuses_numbers_beyond_its_range():
    model = classifier().compile(ADAM, "float32")
    with pytest.raises(SymnetError, match=r"found 1e\+300, expected finite numbers of float32"):
        model.parameters["out.b"] = [0, 0, 1e300]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"optimizer": "adm"}, "Did you mean 'adam'"),
        ({"optimizer": {"name": "adam", "lr": 1}}, "unknown option of adam 'lr'"),
        ({"optimizer": {"name": "adam", "learning_rate": -1}}, "found -1"),
        ({"dtype": "float16"}, "float16"),
        ({"seed": -1}, "seed: found -1"),
        ({"seed": 1.5}, "seed: found 1.5"),
    ],
)
def test_compile_checks_its_arguments(arguments, message):
    with pytest.raises(SymnetError, match=message):
        classifier().compile(**arguments)


def test_value_and_gradient_checks_parameters():
    network = classifier()
    parameters = dict(network.compile().parameters)
    with pytest.raises(SymnetError, match=r"found no 'out\.b'"):
        network.value_and_gradient({k: v for k, v in parameters.items() if k != "out.b"}, X, LABELS)
    with pytest.raises(SymnetError, match=r"Did you mean 'out\.b'"):
        network.value_and_gradient(parameters | {"out.bb": np.zeros(3)}, X, LABELS)


# ---------------------------------------------------------------------------------------------- parameters
def test_parameters_are_read_as_copies_and_assigned_by_name(model):
    assert list(model.parameters) == ["hidden.W", "hidden.b", "out.W", "out.b"]
    assert {k: v.shape for k, v in model.parameters.items()} == dict(model.network.parameters)
    kept = model.parameters["out.W"]
    with pytest.raises(ValueError, match="read-only"):
        kept[0, 0] = 1
    new = np.arange(24.0).reshape(3, 8)
    model.parameters["out.W"] = new
    assert np.array_equal(model.parameters["out.W"], new) and not np.array_equal(kept, new)
    model.parameters = {"out.b": [1, 2, 3], "out.W": -new}
    assert model.parameters["out.b"].tolist() == [1, 2, 3] and np.array_equal(model.parameters["out.W"], -new)


def test_first_parameters_depend_on_the_seed_and_not_on_the_dtype():
    single, double, other = (
        classifier().compile("adam", dtype, seed) for dtype, seed in (("float32", 4), ("float64", 4), ("float64", 5))
    )
    for name, value in double.parameters.items():
        assert np.array_equal(single.parameters[name], value.astype(np.float32))
    assert not np.array_equal(double.parameters["hidden.W"], other.parameters["hidden.W"])


def test_scaling_centres_columns_and_is_applied_everywhere():
    plain, scaled = (classifier().compile(ADAM, "float64", seed=1) for _ in range(2))
    raw = X * 7 + 3
    scaled.scale(raw)
    mean, deviation = raw.mean(axis=0), raw.std()
    plain.fit((raw - mean) / deviation, LABELS, epochs=2)
    scaled.fit(raw, LABELS, epochs=2)
    assert everything(plain) == everything(scaled)
    assert np.array_equal(plain.predict_proba((raw - mean) / deviation), scaled.predict_proba(raw))
    scaled.scale(np.hstack([raw[:, :4], np.ones((70, 1))]), "column")
    assert np.allclose(scaled.scaling["x"].deviation, [*raw[:, :4].std(axis=0), 1.0])


def test_inputs_are_scaled_before_they_are_rounded():
    """Times in seconds, say: a float32 of them is a multiple of 128."""
    times = 1.6e9 + np.arange(70)[:, None] * [1.0, 2.0, 3.0, 5.0, 7.0]
    plain, scaled = (classifier().compile(ADAM, "float32", seed=1) for _ in range(2))
    scaled.scale(times, "column")
    around = (times - times.mean(axis=0)) / times.std(axis=0)
    assert np.array_equal(scaled.predict_proba(times), plain.predict_proba(around))
    with pytest.raises(
        SymnetError, match=r"X\[3, 1\]: found 1e\+48, expected numbers in the range of float32 when they"
    ):
        scaled.predict(np.where(np.arange(70)[:, None] == 3, [0, 1e48, 0, 0, 0], times))


@pytest.mark.parametrize("value", [0.1, 1e9 + 0.3, -7e-5])
def test_a_column_that_is_constant_is_not_divided_by_the_rounding_of_its_mean(value):
    model = classifier().compile("adam", "float64")
    model.scale(np.column_stack([np.full((70, 4), value), X[:, 0]]), "column")
    assert model.scaling["x"].deviation[:4].tolist() == [1, 1, 1, 1]


def test_inputs_whose_deviation_is_no_number_are_refused():
    model = classifier().compile("adam", "float64")
    for kind in ("common", "column"):
        with pytest.raises(SymnetError, match="scale, X: found numbers whose squares have no finite sum"):
            model.scale(X * 1e200, kind)
    assert model.scaling == {}


def test_source_and_report_describe_the_training_step_made_last(model):
    model.prepare(X, LABELS, batch_size=16)
    assert "def kernel(table):" in model.source
    lines = model.report().splitlines()
    assert lines[0].split()[0] == "pass" and any(line.startswith("stabilize") for line in lines)
    assert any("elements of float64" in line for line in lines) and any("16 rows" in line for line in lines)


# ---------------------------------------------------------------------------------------------- files
@pytest.fixture
def saved(trained, tmp_path):
    trained.save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_a_file_has_the_parameters_by_name_and_the_spec_as_json(saved, trained):
    arrays, metadata = storage.read(saved)
    for name, value in trained.parameters.items():
        assert np.array_equal(arrays[name], value)
    assert set(arrays) == {*trained.parameters, *(f"optimizer:{s}:{n}" for s in "mv" for n in trained.parameters)}
    assert json.loads(metadata["spec"])["network"]["loss"] == "softmax_cross_entropy"


def changed(path, arrays=None, metadata=None):
    """The file with some arrays or metadata replaced; None takes one away."""
    old_arrays, old_metadata = storage.read(path)
    new_arrays = {k: v for k, v in (old_arrays | (arrays or {})).items() if v is not None}
    new_metadata = {k: v for k, v in (old_metadata | (metadata or {})).items() if v is not None}
    storage.write(path, new_arrays, new_metadata)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arrays": {"out.W": None}}, "found no array 'out.W'"),
        ({"arrays": {"out.W": np.zeros((3, 9))}}, r"found F64 \(3, 9\), expected F64 \(3, 8\)"),
        ({"arrays": {"out.W": np.zeros((3, 8), np.float32)}}, r"found F32 \(3, 8\), expected F64"),
        ({"arrays": {"out.W": np.full((3, 8), np.nan)}}, "found NaN"),
        ({"arrays": {"optimizer:m:out.W": None}}, "found no array 'optimizer:m:out.W'"),
        ({"arrays": {"more": np.zeros(1)}}, "found the array 'more'"),
        ({"arrays": {"input:x:mean": np.zeros(5)}}, "found no array 'input:x:deviation'"),
        ({"arrays": {"input:x:mean": np.zeros(5), "input:x:deviation": np.zeros(5)}}, "deviation of 0"),
        ({"metadata": {"format": "other"}}, "found 'other', expected symnet model 1"),
        ({"metadata": {"format": None}}, "found a file without our metadata"),
        ({"metadata": {"spec": "{"}}, "its metadata are damaged"),
        ({"metadata": {"spec": "[" * 50_000}}, "its metadata are damaged"),
        ({"metadata": {"spec": '{"network": {"input": 5}, "layer": 3}'}}, "model.safetensors"),
        ({"metadata": {"model": "{}"}}, "its metadata are damaged"),
        ({"metadata": {"model": "[]"}}, "its metadata are damaged"),
    ],
)
def test_a_file_that_does_not_fit_its_own_spec_is_refused(saved, change, message):
    with pytest.raises(SymnetError, match=message):
        sn.load(changed(saved, **change))


@pytest.mark.parametrize(
    ("key", "value"),
    [("step", -1), ("step", 1.5), ("epoch", True), ("loss_sum", "x"), ("shuffled", 1), ("position", 10**30)],
)
def test_progress_in_a_file_is_checked(saved, key, value):
    _, metadata = storage.read(saved)
    record = json.loads(metadata["model"])
    record["progress"][key] = value
    with pytest.raises(SymnetError, match="its metadata are damaged"):
        sn.load(changed(saved, metadata={"model": json.dumps(record)}))


def test_a_spec_of_a_billion_units_in_a_file_allocates_nothing(saved):
    _, metadata = storage.read(saved)
    spec = json.loads(metadata["spec"])
    spec["layer"][0]["units"] = 10**9
    start = time.perf_counter()
    with pytest.raises(SymnetError):
        sn.load(changed(saved, metadata={"spec": json.dumps(spec)}))
    assert time.perf_counter() - start < 1.0


# ---------------------------------------------------------------------------------------------- the second process
SECOND = """
import sys
import numpy as np
import symnet as sn
X = np.arange(40.0).reshape(8, 5) / 40
y = np.arange(8) % 3
layers = [sn.dense(4, activation="tanh", name="hidden"), sn.dense(3, name="out")]
model = sn.Network(5, layers, "softmax_cross_entropy", 1e-3).compile("adam", seed=1)
model.fit(X, y, epochs=2, batch_size=4, validation_data=(X, y))
model.save(sys.argv[1])
model = sn.load(sys.argv[1])
print(model.predict(X).tolist(), model.evaluate(X, y), model.predict_proba(X).tolist())
print([m for m in ("sympy", "numba", "scipy") if m in sys.modules])
"""


def test_a_second_process_derives_and_compiles_nothing(tmp_path):
    folder = str(Path(sn.__file__).resolve().parent.parent)
    environment = os.environ | {"SYMNET_CACHE": str(tmp_path / "cache"), "PYTHONPATH": folder}
    outputs = []
    for _ in range(2):
        command = [sys.executable, "-c", SECOND, str(tmp_path / "model")]
        found = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
        assert found.returncode == 0, found.stderr
        outputs.append(found.stdout.splitlines())
    assert outputs[0][0] == outputs[1][0]
    assert outputs[0][1] != "[]" and outputs[1][1] == "[]"


def test_sums_over_all_gradients_do_not_see_what_stands_between_them_in_memory() -> None:
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(50, 4)), rng.normal(size=(50, 3))
    layers = [sn.dense(6, activation="tanh", name="h"), sn.dense(3, name="o")]  # 6 and 3 elements: padded to 8
    net = sn.Network(input=4, layers=layers, loss="squared_error")
    optimizer = {"name": "gradient_descent", "learning_rate": 0.5, "clip_norm": 0.3}
    model, clean = (net.compile(optimizer, dtype="float64", seed=1) for _ in range(2))
    good = dict(model.parameters)
    model.parameters = {name: value * 1e200 for name, value in good.items()}
    model.evaluate(X, Y)  # leaves huge numbers in the memory that the kernels share
    model.parameters = good
    for each in (model, clean):
        each.prepare(X, Y, 50, shuffle=False).run(5)
    assert all((model.parameters[name] == clean.parameters[name]).all() for name in good)
