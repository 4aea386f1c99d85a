"use strict";
// Swipe, zoom and pan of two pictures that lie on each other. Everything is kept in a few properties of
// the stage; the style sheet does the rest.
(() => {
  const stage = document.getElementById("stage");
  if (!stage) return;
  const swipe = document.getElementById("swipe");
  const divider = stage.querySelector(".divider");
  const scale = stage.querySelector(".scale");
  const said = document.getElementById("zoom-said");
  const pictureWidth = Number(stage.dataset.width);
  const metres = Number(stage.dataset.metres);
  const view = { x: 0, y: 0, k: 1 };
  const most = () => Math.max(8, (16 * pictureWidth) / stage.clientWidth);

  function showSwipe() {
    stage.style.setProperty("--swipe", `${swipe.value}%`);
    swipe.setAttribute("aria-valuetext", `${Math.round(swipe.value)} % before, ${Math.round(100 - swipe.value)} % after`);
  }

  function showScale() {
    if (!scale || !metres) return;
    const perPixel = metres / (stage.clientWidth * view.k);
    const power = 10 ** Math.floor(Math.log10(perPixel * 130));
    const length = [5, 2, 1].map((n) => n * power).find((m) => m <= perPixel * 130) || power;
    scale.style.setProperty("--bar", `${length / perPixel}px`);
    scale.firstChild.data = length >= 1000 ? `${length / 1000} km` : `${length} m`;
  }

  function showView() {
    const { clientWidth: width, clientHeight: height } = stage;
    view.k = Math.min(Math.max(view.k, 1), most());
    view.x = Math.min(0, Math.max(view.x, width * (1 - view.k)));
    view.y = Math.min(0, Math.max(view.y, height * (1 - view.k)));
    stage.style.setProperty("--x", `${view.x}px`);
    stage.style.setProperty("--y", `${view.y}px`);
    stage.style.setProperty("--k", view.k);
    stage.classList.toggle("zoomed", view.k > 1);
    stage.classList.toggle("close", (view.k * width) / pictureWidth > 2.5);
    said.value = view.k === 1 ? "whole scene" : `zoom ${view.k.toFixed(1)} ×`;
    showScale();
  }

  function zoom(factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
    const k = Math.min(Math.max(view.k * factor, 1), most());
    view.x = x - ((x - view.x) * k) / view.k;
    view.y = y - ((y - view.y) * k) / view.k;
    view.k = k;
    showView();
  }

  function pan(dx, dy) {
    view.x += dx;
    view.y += dy;
    showView();
  }

  function whole() {
    Object.assign(view, { x: 0, y: 0, k: 1 });
    showView();
  }

  swipe.addEventListener("input", showSwipe);
  document.getElementById("zoom-in").addEventListener("click", () => zoom(1.5));
  document.getElementById("zoom-out").addEventListener("click", () => zoom(1 / 1.5));
  document.getElementById("zoom-reset").addEventListener("click", whole);

  const keys = {
    "+": () => zoom(1.5),
    "=": () => zoom(1.5),
    "-": () => zoom(1 / 1.5),
    "0": whole,
    ArrowLeft: () => pan(60, 0),
    ArrowRight: () => pan(-60, 0),
    ArrowUp: () => pan(0, 60),
    ArrowDown: () => pan(0, -60),
  };
  stage.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    if (event.key.startsWith("Arrow") && view.k === 1) return; // the page scrolls
    event.preventDefault();
    keys[event.key]();
  });

  // the wheel alone scrolls the page, unless the reader has gone into the picture
  stage.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && !event.metaKey && view.k === 1) return;
      event.preventDefault();
      const box = stage.getBoundingClientRect();
      zoom(Math.exp(-event.deltaY * 0.0022), event.clientX - box.left, event.clientY - box.top);
    },
    { passive: false },
  );
  stage.addEventListener("dblclick", (event) => {
    const box = stage.getBoundingClientRect();
    zoom(2, event.clientX - box.left, event.clientY - box.top);
  });

  const fingers = new Map();
  let swiping = false;
  stage.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    swiping = fingers.size === 0 && event.target === divider;
    fingers.set(event.pointerId, event);
    stage.setPointerCapture(event.pointerId);
    stage.classList.add("dragging");
  });
  stage.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const box = stage.getBoundingClientRect();
    if (swiping) {
      swipe.value = (100 * (event.clientX - box.left)) / box.width;
      showSwipe();
    } else if (fingers.size === 2) {
      const [other] = [...fingers].filter(([id]) => id !== event.pointerId).map(([, finger]) => finger);
      const apart = (a) => Math.hypot(a.clientX - other.clientX, a.clientY - other.clientY);
      zoom(apart(event) / Math.max(apart(before), 1), other.clientX - box.left, other.clientY - box.top);
    } else if (fingers.size === 1) {
      pan(event.clientX - before.clientX, event.clientY - before.clientY);
    }
    fingers.set(event.pointerId, event);
  });
  const lift = (event) => {
    fingers.delete(event.pointerId);
    if (!fingers.size) stage.classList.remove("dragging");
  };
  stage.addEventListener("pointerup", lift);
  stage.addEventListener("pointercancel", lift);

  for (const box of document.querySelectorAll("input[data-overlay]")) {
    const image = document.getElementById(box.dataset.overlay);
    const show = () => (image.hidden = !box.checked);
    box.addEventListener("change", show);
    show();
  }
  const strength = document.getElementById("strength");
  if (strength) {
    const show = () => stage.style.setProperty("--overlay-opacity", strength.value / 100);
    strength.addEventListener("input", show);
    show();
  }

  new ResizeObserver(showView).observe(stage);
  showSwipe();
  showView();
})();
