import "./parts/one.js";
